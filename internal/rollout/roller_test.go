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
	for _, obj := range Objects(false) {
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
	req := Request{
		Namespace: "n", Content: Content{Secret: "s", Checksum: "new", ChangedAt: changedAt, Fresh: true}, Changed: true, Now: changedAt,
		Peers: func(context.Context, Workload) ([]Peer, error) { return nil, nil },
	}

	first, err := r.Roll(t.Context(), req)
	if err == nil {
		t.Error("the failed stamp is not told")
	}
	want := Report{
		Workloads: []vaultv1alpha1.WorkloadStatus{
			{Kind: "Deployment", Name: "a", State: vaultv1alpha1.WorkloadPending, Message: notStamped, PendingSince: microTime(changedAt), NotBefore: microTime(changedAt)},
			{Kind: "Deployment", Name: "b", State: vaultv1alpha1.WorkloadRollingOut},
		},
		Stamped: []string{"Deployment/b"},
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first run (-want +got):\n%s", diff)
	}

	failing = false
	req.Content.Fresh, req.Changed, req.Previous, req.Now = false, false, first.Workloads, changedAt.Add(time.Hour)
	second, err := r.Roll(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Deployment/a"}, second.Stamped); diff != "" {
		t.Errorf("second run stamped (-want +got):\n%s", diff)
	}
}

// A workload that another wrote since it was read is not stamped over: it stays Pending
// and is looked at again soon, and it is stamped by one write for all its Secrets.
func TestStampLosesARace(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := appsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "d"}}
	d.Spec.Template.Annotations = map[string]string{StampAnnotation("s"): "1", StampAnnotation("peer"): "1"}
	patches := 0
	builder := fake.NewClientBuilder().WithScheme(scheme).WithObjects(d).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			patches++
			if patches == 1 {
				other := &appsv1.Deployment{}
				if err := c.Get(ctx, client.ObjectKeyFromObject(obj), other); err != nil {
					return err
				}
				other.Spec.Template.Annotations[StampAnnotation("peer")] = "3"
				if err := c.Update(ctx, other); err != nil {
					return err
				}
			}
			if err := c.Patch(ctx, obj, patch, opts...); err != nil {
				return err
			}
			obj.SetGeneration(obj.GetGeneration() + 1)
			return nil
		},
	})
	for _, obj := range Objects(false) {
		builder.WithIndex(obj, SecretIndex, secretsOfObject)
	}
	r := Roller{Client: builder.Build()}
	peer := Peer{Secret: "peer", Checksum: "2"}
	req := Request{
		Namespace: "n", Content: Content{Secret: "s", Checksum: "2"}, Now: noon,
		Selection: Selection{targets: []vaultv1alpha1.RolloutTarget{{Kind: KindDeployment, Name: "d"}}},
		Peers:     func(context.Context, Workload) ([]Peer, error) { return []Peer{peer}, nil },
	}
	first, err := r.Roll(t.Context(), req)
	if err != nil || len(first.Stamped) != 0 || first.Wake != staleDelay || first.Workloads[0].State != vaultv1alpha1.WorkloadPending {
		t.Fatalf("a lost race gives %+v, %v", first, err)
	}
	peer.Checksum = "3"
	req.Previous = first.Workloads
	next, err := r.Roll(t.Context(), req)
	if err != nil || len(next.Stamped) != 1 || next.Wake != 0 || next.Workloads[0].State != vaultv1alpha1.WorkloadRollingOut {
		t.Fatalf("the next try gives %+v, %v", next, err)
	}
	if err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(d), d); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{StampAnnotation("s"): "2", StampAnnotation("peer"): "3"}
	if diff := cmp.Diff(want, d.Spec.Template.Annotations); diff != "" {
		t.Errorf("stamps (-want +got):\n%s", diff)
	}
}
