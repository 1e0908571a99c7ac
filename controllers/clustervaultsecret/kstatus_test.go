package clustervaultsecret_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// seenAs checks what tools that go by kstatus take object for, as it is now.
func (w *world) seenAs(object *vaultv1alpha1.ClusterVaultSecret, when string, want status.Status) {
	w.t.Helper()
	if got := testkit.KStatus(w.t, w.client, object); got != want {
		w.t.Errorf("%s: kstatus says %s, want %s", when, got, want)
	}
}

// Tools that know Kubernetes' conventions, and nothing of Coffer, take a
// ClusterVaultSecret for current when every namespace is ready, and never before.
func TestKStatus(t *testing.T) {
	w := newWorld(t)
	a, b := w.namespace(w.team, "api"), w.namespace(w.team, "api")
	w.put(`{"password":"one"}`, a)
	object := w.clusterVaultSecret("registry")
	w.seenAs(object, "no operator has seen it", status.InProgressStatus)

	op := w.startOperator()
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, a+": Synced", b+": Denied")
	w.seenAs(object, "denied in a namespace", status.InProgressStatus)
	w.put(`{"password":"one"}`, a, b)
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced", b+": Synced")
	w.seenAs(object, "ready", status.CurrentStatus)

	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) {
		o.Spec.Template.Spec.Data = []vaultv1alpha1.VaultSecretData{{Key: "a", Path: path, Property: "pasword"}}
	})
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, a+": PropertyNotFound", b+": PropertyNotFound")
	w.seenAs(object, "a property is missing", status.InProgressStatus)
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { o.Spec.Template.Spec.Data = nil })
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced", b+": Synced")

	w.create(deployment(a))
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, a+": RollingOut", b+": Synced")
	w.seenAs(object, "a workload rolls", status.InProgressStatus)

	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { o.Spec.Template.Spec.Suspend = true })
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, a+": Suspended", b+": Suspended")
	w.seenAs(object, "suspended", status.InProgressStatus)

	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) {
		o.Spec.NamespaceSelector.MatchLabels[teamLabel] = "nobody"
	})
	w.outcomes(object, vaultv1alpha1.ReasonNoNamespaces)
	w.seenAs(object, "there is nothing to do", status.CurrentStatus)

	op.stop()
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { o.Spec.NamespaceSelector.MatchLabels[teamLabel] = w.team })
	w.seenAs(object, "its spec is newer than its status", status.InProgressStatus)

	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { o.Finalizers = []string{"example.com/waits"} })
	w.delete(object)
	w.seenAs(object, "being deleted", status.TerminatingStatus)
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) { o.Finalizers = nil })
}

// A dead database ends by itself: tools wait for it.
func TestKStatusWithoutDatabase(t *testing.T) {
	server := testkit.PostgresServer(t)
	dsn, err := server.CreateDatabase(t.Context(), "coffer")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, vaulttest.Config{DSN: dsn})
	a := w.namespace(w.team, "api")
	w.put("one", a)
	w.startOperator()
	object := w.clusterVaultSecret("registry")
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced")
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	change(w, object, func(o *vaultv1alpha1.ClusterVaultSecret) {
		o.Spec.Template.Spec.Target.Labels = map[string]string{"a": "b"}
	})
	w.outcomes(object, vaultv1alpha1.ReasonNamespacesNotReady, a+": VaultUnavailable")
	w.seenAs(object, "the database is away", status.InProgressStatus)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced")
	w.seenAs(object, "the database is back", status.CurrentStatus)
}

// deployment uses the Secret registry. Nobody brings its pods up here.
func deployment(namespace string) *appsv1.Deployment {
	labels := map[string]string{"app": "api"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "api"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				Containers:       []corev1.Container{{Name: "main", Image: "none.local/none"}},
				ImagePullSecrets: []corev1.LocalObjectReference{{Name: "registry"}},
			}},
		},
	}
}
