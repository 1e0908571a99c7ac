package vaultsecret_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
)

// trio is a Deployment that uses three Secrets, each of a VaultSecret of its own.
type trio struct {
	*world
	objects    []*vaultv1alpha1.VaultSecret
	deployment *appsv1.Deployment
}

var trioNames = []string{"one", "two", "three"}

// newTrio makes a trio whose VaultSecrets wait this long, and brings it into step.
func newTrio(w *world, debounce time.Duration) *trio {
	w.t.Helper()
	t := &trio{world: w}
	for _, name := range trioNames {
		w.put(folder+name, "first")
		t.objects = append(t.objects, w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) {
			s.Path = vaultv1alpha1.VaultPath(folder + name)
			s.Rollout.Debounce = &metav1.Duration{Duration: debounce}
		}))
		w.ready(t.objects[len(t.objects)-1])
	}
	t.deployment = w.deployment("api", func(pod *corev1.PodSpec) {
		for _, name := range trioNames {
			envFrom(name)(pod)
		}
	})
	w.rolledOut(t.deployment)
	for _, object := range t.objects {
		w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRolledOut)
	}
	return t
}

func (t *trio) rotateAll(value string) {
	t.t.Helper()
	for _, name := range trioNames {
		t.rotate(folder+name, value)
	}
}

// arePending waits until the intent of every rollout stands in the status.
func (t *trio) arePending() {
	t.t.Helper()
	for _, object := range t.objects {
		t.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonPending)
		if s := object.Status.Workloads[0]; s.State != vaultv1alpha1.WorkloadPending || s.PendingSince == nil || s.NotBefore == nil {
			t.t.Fatalf("the status of the workload is %+v", s)
		}
	}
}

// areRolled waits until the Deployment has every present stamp and every VaultSecret
// has seen it, and checks that its template was changed this often since it was made.
func (t *trio) areRolled(times int64) {
	t.t.Helper()
	for i, object := range t.objects {
		t.stamped(t.deployment, trioNames[i])
		t.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
	}
	if got := refreshed(t.world, t.deployment).Generation - 1; got != times {
		t.t.Fatalf("the Deployment was rolled %d times, want %d", got, times)
	}
}

// Three Secrets of one workload that change together roll it once, also when the
// operator is restarted, or another takes over, before it rolls.
func TestChangesAreCoalesced(t *testing.T) {
	t.Parallel()
	const window = 3 * time.Second
	t.Run("one operator", func(t *testing.T) {
		t.Parallel()
		w, op := newRunningWorld(t)
		trio := newTrio(w, window)
		trio.rotateAll("second")
		trio.arePending()
		trio.areRolled(1)
		if started, coalesced := op.counter(t, "coffer_rollouts_started_total"), op.counter(t, "coffer_rollouts_coalesced_total"); started != 1 || coalesced != 2 {
			t.Errorf("%d rollouts are counted as started and %d as coalesced, want 1 and 2", started, coalesced)
		}
		w.rolledOut(trio.deployment)
		for _, object := range trio.objects {
			w.ready(object)
			if s := object.Status.Workloads[0]; s.PendingSince != nil || s.NotBefore != nil {
				t.Errorf("a rolled workload has the status %+v", s)
			}
		}
	})
	t.Run("restarted meanwhile", func(t *testing.T) {
		t.Parallel()
		w, op := newRunningWorld(t)
		trio := newTrio(w, window)
		trio.rotateAll("second")
		trio.arePending()
		since := trio.objects[0].Status.Workloads[0].PendingSince
		op.stop()
		if got := refreshed(w, trio.deployment).Generation; got != 1 {
			t.Fatalf("the Deployment was rolled before the debounce was over: generation %d", got)
		}
		if got := refreshed(w, trio.objects[0]).Status.Workloads[0].PendingSince; !got.Equal(since) {
			t.Errorf("the wait began at %v and then at %v", since, got)
		}
		w.startOperator()
		trio.areRolled(1)
	})
	t.Run("rotated while there is no operator", func(t *testing.T) {
		t.Parallel()
		w, op := newRunningWorld(t)
		trio := newTrio(w, window)
		op.stop()
		trio.rotateAll("second")
		w.startOperator()
		trio.areRolled(1)
	})
	t.Run("taken over", func(t *testing.T) {
		t.Parallel()
		w, first := newRunningWorld(t)
		trio := newTrio(w, window)
		w.startOperator() // as when a leader is paused past its lease
		trio.rotateAll("second")
		trio.arePending()
		first.stop()
		trio.areRolled(1)
	})
	t.Run("two operators to the end", func(t *testing.T) {
		t.Parallel()
		w, _ := newRunningWorld(t)
		trio := newTrio(w, window)
		w.startOperator()
		trio.rotateAll("second")
		trio.areRolled(1)
	})
}

// One Secret that changes again while it waits rolls once, with what it holds then.
func TestChangeWhilePending(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	trio := newTrio(w, 3*time.Second)
	trio.rotateAll("second")
	trio.arePending()
	before := *trio.objects[0].Status.Workloads[0].NotBefore
	w.rotate(folder+"one", "third")
	w.eventually(func() string {
		if s := refreshed(w, trio.objects[0]).Status.Workloads[0]; s.State == vaultv1alpha1.WorkloadPending && !s.NotBefore.Time.After(before.Time) {
			return "the second change does not make the workload wait anew"
		}
		return ""
	})
	w.holds("one", map[string]string{"value": "third"})
	trio.areRolled(1)
	if got := op.counter(t, "coffer_rollouts_coalesced_total"); got != 3 {
		t.Errorf("%d changes are counted as coalesced, want 3", got)
	}
}

// With a debounce of 0s a change rolls at once, and takes those with it that wait.
func TestNoDebounce(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	trio := newTrio(w, 5*time.Minute)
	change(w, trio.objects[2], func(o *vaultv1alpha1.VaultSecret) { o.Spec.Rollout.Debounce = &metav1.Duration{} })
	w.ready(trio.objects[2])
	w.rotate(folder+"one", "second")
	w.conditionIs(trio.objects[0], vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonPending)
	w.rotate(folder+"three", "second")
	for _, name := range []string{"one", "three"} {
		w.stamped(trio.deployment, name)
	}
	if got := refreshed(w, trio.deployment).Generation; got != 2 {
		t.Errorf("the Deployment has generation %d, want 2", got)
	}
	if stamp := trio.deployment.Spec.Template.Annotations[rollout.StampAnnotation("two")]; stamp != "" {
		t.Error("a Secret that did not change was stamped")
	}
	w.conditionIs(trio.objects[0], vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
}

// A workload that waits when access ends is rolled when the Secret comes back, though
// the content is the same then.
func TestPendingOutlivesDenial(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	trio := newTrio(w, 5*time.Minute)
	w.rotate(folder+"one", "second")
	w.conditionIs(trio.objects[0], vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonPending)
	since := trio.objects[0].Status.Workloads[0].PendingSince
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "api"}}
	w.delete(account)
	w.isGone("one")
	w.conditionIs(trio.objects[0], vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonServiceAccountNotFound)
	w.createAccount("api")
	w.conditionIs(trio.objects[0], vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonPending)
	// Long after the change nothing else tells that the workload is owed a rollout.
	if got := trio.objects[0].Status.Workloads[0].PendingSince; !got.Equal(since) {
		t.Errorf("the wait began at %v and then at %v", since, got)
	}
	change(w, trio.objects[0], func(o *vaultv1alpha1.VaultSecret) { o.Spec.Rollout.Debounce = &metav1.Duration{} })
	w.stamped(trio.deployment, "one")
}

// A rollout that is under way when access ends is watched on when the Secret comes back:
// it may still fail, and is rolled back then.
func TestWatchedRolloutOutlivesDenial(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.atOnce("payments")
	w.holds("payments", map[string]string{"value": "one"})
	d := w.deployment("api", envFrom("payments"))
	// What it has from the moment at which the Secret is back.
	change(w, d, func(d *appsv1.Deployment) { d.Spec.ProgressDeadlineSeconds = ptr.To[int32](1) })
	w.rolledOut(d)
	w.knownGood(object, 1)
	w.rotate(database, "two")
	w.stampIs(d, "payments", w.stampOf(object, "two"))
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
	since := object.Status.Workloads[0].RollingSince
	if since == nil {
		t.Fatal("the rollout is not watched")
	}
	w.delete(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "api"}})
	w.isGone("payments")
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonServiceAccountNotFound)
	w.createAccount("api")
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRollingOut)
	if got := object.Status.Workloads[0].RollingSince; !got.Equal(since) {
		t.Errorf("the rollout began at %v and then at %v", since, got)
	}
	w.missesDeadline(d)
	w.isBack(object, "one", 1)
}

// counter is the value of a metric without labels.
func (op *operator) counter(t testing.TB, name string) int {
	t.Helper()
	families, err := op.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return int(family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// rolledOutMessage is the message of the condition RolledOut.
func rolledOutMessage(object *vaultv1alpha1.VaultSecret) string {
	condition := meta.FindStatusCondition(object.Status.Conditions, vaultv1alpha1.ConditionRolledOut)
	if condition == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s: %s", condition.Status, condition.Reason, condition.Message)
}
