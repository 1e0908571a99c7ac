package clustervaultsecret

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit"
)

func TestWithheldIsBounded(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	var w withheld
	for i, step := range []struct {
		after time.Duration // the step before
		name  string
		wait  time.Duration
		want  time.Duration
	}{
		{0, "a", settleTime, settleTime},
		{time.Second, "b", time.Second, time.Second},
		{settleTime - 3*time.Second, "a", settleTime, 2 * time.Second},
		{time.Second, "a", conflictDelay, conflictDelay},
		{time.Second, "a", conflictDelay, 0},       // it is written, whatever it waits for
		{0, "a", settleTime, settleTime},           // and waits anew
		{0, "b", 0, 0},                             // nothing to wait for
		{time.Second, "b", settleTime, settleTime}, // so this is anew too
		{2 * settleTime, "b", settleTime, 0},       // nobody looked meanwhile
		{0, "a", settleTime, 0},                    // each has its own
	} {
		now = now.Add(step.after)
		if got := w.bounded(step.name, step.wait, now); got != step.want {
			t.Errorf("step %d, %s: %v, want %v", i, step.name, got, step.want)
		}
	}
	if len(w.since) != 0 {
		t.Errorf("it remembers %v", w.since)
	}
	w.bounded("gone", settleTime, now)
	if w.forget("gone"); len(w.since) != 0 {
		t.Errorf("it remembers %v", w.since)
	}
}

// TestNobodyWithholdsTheStatus: a VaultSecret that is edited whenever it is written, or is
// deleted and made anew again and again, holds back the status of the others for
// settleTime.
func TestNobodyWithholdsTheStatus(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := vaultv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(testkit.Kube(t, "../../config/crd/bases"), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for name, disturbed := range map[string]func(s *scope, now time.Time){
		"edited": func(s *scope, _ time.Time) { s.note("disturbed", errRaced) },
		"deleted": func(s *scope, now time.Time) {
			s.observe(&vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "disturbed", CreationTimestamp: metav1.NewTime(now)}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			object := &vaultv1alpha1.ClusterVaultSecret{
				ObjectMeta: metav1.ObjectMeta{Name: "withheld-" + name},
				Spec: vaultv1alpha1.ClusterVaultSecretSpec{
					NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"example.com/none": "a"}},
					Template:          vaultv1alpha1.VaultSecretTemplate{Spec: vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: "a/b"}},
				},
			}
			if err := api.Create(t.Context(), object); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := api.Delete(context.Background(), object); err != nil {
					t.Error(err)
				}
			})
			clock := clocktesting.NewFakePassiveClock(time.Now())
			r := &Reconciler{Client: api, Clock: clock}
			begun := clock.Now()
			for written := false; !written; {
				s := newScope(object.DeepCopy())
				s.outcomes = []outcome{outcomeFor("calm", vaultv1alpha1.ReasonSynced)}
				disturbed(s, clock.Now())
				result, err := r.finish(t.Context(), s, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
					t.Fatal(err)
				}
				waited := clock.Since(begun)
				if written = len(object.Status.Conditions) > 0; written != (waited >= settleTime) {
					t.Fatalf("after %v the status is %+v", waited, object.Status)
				}
				if !written && result.RequeueAfter <= 0 {
					t.Fatal("nobody looks again at a status that waits")
				}
				clock.SetTime(clock.Now().Add(time.Second))
			}
			ready := meta.FindStatusCondition(object.Status.Conditions, vaultv1alpha1.ConditionReady)
			if want := "waiting for 1 of 2 namespaces: disturbed"; ready.Message != want || object.Status.Ready != 1 {
				t.Errorf("%d are ready, and the status says %q; want 1 and %q", object.Status.Ready, ready.Message, want)
			}
		})
	}
}
