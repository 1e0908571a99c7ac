//go:build e2e

package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// tenantLabel is what the ClusterVaultSecret of the test selects by.
const tenantLabel = "example.com/tenant-of"

// TestClusterVaultSecret: the namespaces of the selector get the Secret, one that is
// labelled later gets it too, and one that is deleted goes, though no operator runs.
func TestClusterVaultSecret(t *testing.T) {
	e := newEnvironment(t)
	first, second, late := e.namespace, e.addNamespace(t, "production"), e.addNamespace(t, "production")
	e.label(t, first, second)
	value, path := randomValue(), e.path("registry")
	coffer(t, value, "put", path, "--allow-environment", "production",
		"--allow-service", first+"/api", "--allow-service", second+"/api", "--allow-service", late+"/api")
	object := &vaultv1alpha1.ClusterVaultSecret{
		ObjectMeta: metav1.ObjectMeta{Name: e.namespace},
		Spec: vaultv1alpha1.ClusterVaultSecretSpec{
			NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{tenantLabel: e.namespace}},
			Template: vaultv1alpha1.VaultSecretTemplate{
				Metadata: vaultv1alpha1.VaultSecretTemplateMetadata{Name: "registry"},
				Spec:     vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: vaultv1alpha1.VaultPath(path)},
			},
		},
	}
	must(t, e.client.Create(t.Context(), object))
	t.Cleanup(func() { must(t, e.client.Delete(context.Background(), object)) })

	for _, namespace := range []string{first, second} {
		e.in(namespace).waitForValue(t, "registry", value)
	}
	e.waitForRow(t, object, "True Synced 2 2")
	err := e.client.Get(t.Context(), client.ObjectKey{Namespace: late, Name: "registry"}, &corev1.Secret{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("a namespace without the label has the Secret (error %v)", err)
	}
	e.label(t, late)
	e.in(late).waitForValue(t, "registry", value)
	e.waitForRow(t, object, "True Synced 3 3")

	start := e.stopOperator(t)
	must(t, e.client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: second}}))
	eventually(t, "the namespace to go without an operator", func(ctx context.Context) (bool, error) {
		err := e.client.Get(ctx, client.ObjectKey{Name: second}, &corev1.Namespace{})
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	})
	start()
	e.waitForRow(t, object, "True Synced 2 2")
}

// in is the same installation, seen from another namespace.
func (e *environment) in(namespace string) *environment {
	other := *e
	other.namespace = namespace
	return &other
}

// label has the namespaces selected by the test's ClusterVaultSecret.
func (e *environment) label(t *testing.T, namespaces ...string) {
	t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"`+tenantLabel+`":"`+e.namespace+`"}}}`))
	for _, name := range namespaces {
		must(t, e.client.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, patch))
	}
}

// waitForRow waits until kubectl shows this of the ClusterVaultSecret, between its name
// and its age.
func (e *environment) waitForRow(t *testing.T, object *vaultv1alpha1.ClusterVaultSecret, want string) {
	t.Helper()
	eventually(t, "kubectl get clustervaultsecrets to show "+want, func(ctx context.Context) (bool, error) {
		out, err := exec.CommandContext(ctx, "kubectl", "get", "clustervaultsecrets", object.Name).Output()
		if err != nil {
			return false, err
		}
		header, row, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if got := strings.Join(strings.Fields(header), " "); got != "NAME READY STATUS NAMESPACES SYNCED AGE" {
			t.Fatalf("the columns are %s", got)
		}
		return strings.HasPrefix(strings.Join(strings.Fields(row), " "), object.Name+" "+want+" "), nil
	})
}

// stopOperator takes all replicas away. The returned function, which is called at the
// end of the test at the latest, brings them back.
func (e *environment) stopOperator(t *testing.T) (start func()) {
	t.Helper()
	deployment := &appsv1.Deployment{}
	must(t, e.client.Get(t.Context(), client.ObjectKey{Namespace: installation, Name: "coffer"}, deployment))
	replicas := deployment.Spec.Replicas
	scale := func(ctx context.Context, to *int32) {
		before := deployment.DeepCopy()
		deployment.Spec.Replicas = to
		must(t, e.client.Patch(ctx, deployment, client.MergeFrom(before)))
	}
	scale(t.Context(), new(int32(0)))
	started := false
	start = func() {
		if started {
			return
		}
		started = true
		scale(context.WithoutCancel(t.Context()), replicas)
		e.waitForManagers(t, nil)
	}
	t.Cleanup(func() {
		if !started {
			scale(context.WithoutCancel(t.Context()), replicas)
		}
	})
	eventually(t, "the managers to be gone", func(context.Context) (bool, error) { return len(e.managers(t)) == 0, nil })
	return start
}
