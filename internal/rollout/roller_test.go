package rollout

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// A stamp that fails is owed: the others are rolled, the status tells of it, and
// the next run makes up for it however long after the change it comes. The rest of
// the roller is tested on a real API server, in controllers/vaultsecret.
func TestFailedStampIsMadeUpFor(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := appsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	changedAt := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	failing := true
	builder := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if failing && obj.GetName() == "a" {
				return errors.New("no")
			}
			if err := c.Patch(ctx, obj, patch, opts...); err != nil {
				return err
			}
			obj.SetGeneration(obj.GetGeneration() + 1) // as an API server does
			return nil
		},
	})
	for _, obj := range Objects() {
		builder.WithIndex(obj, SecretIndex, secretsOfObject)
	}
	for _, name := range []string{"a", "b"} {
		builder.WithObjects(&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, CreationTimestamp: metav1.NewTime(changedAt.Add(-time.Hour))},
			Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "c", EnvFrom: secretEnv("s")}},
			}}},
		})
	}
	r := Roller{Client: builder.Build()}

	first, err := r.Roll(t.Context(), "n", Content{Secret: "s", Checksum: "new", ChangedAt: changedAt, Fresh: true}, nil)
	if err == nil {
		t.Error("the failed stamp is not told")
	}
	want := Report{
		Workloads: []vaultv1alpha1.WorkloadStatus{
			{Kind: "Deployment", Name: "a", State: vaultv1alpha1.WorkloadRollingOut, Message: notStamped},
			{Kind: "Deployment", Name: "b", State: vaultv1alpha1.WorkloadRollingOut},
		},
		Stamped: []string{"Deployment/b"},
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first run (-want +got):\n%s", diff)
	}

	failing = false
	second, err := r.Roll(t.Context(), "n", Content{Secret: "s", Checksum: "new", ChangedAt: changedAt}, first.Workloads)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Deployment/a"}, second.Stamped); diff != "" {
		t.Errorf("second run stamped (-want +got):\n%s", diff)
	}
}
