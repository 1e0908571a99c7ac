package clustervaultsecret_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// A GitOps controller that applies the same YAML again finds nothing to change, and
// shows no diff, after the operator has done its work in every namespace.
func TestGitOpsSeesNoDiff(t *testing.T) {
	w := newWorld(t)
	a, b := w.namespace(w.team, "api"), w.namespace(w.team, "api")
	text, err := os.ReadFile("../../config/samples/cluster/clustervaultsecret.yaml")
	if err != nil {
		t.Fatal(err)
	}
	apply := func(options ...client.ApplyOption) *unstructured.Unstructured {
		t.Helper()
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			t.Fatal(err)
		}
		// Other tests' namespaces have the sample's label too.
		if err := unstructured.SetNestedField(u.Object, w.team, "spec", "namespaceSelector", "matchLabels", teamLabel); err != nil {
			t.Fatal(err)
		}
		options = append(options, client.FieldOwner("gitops"))
		if err := w.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), options...); err != nil {
			t.Fatal(err)
		}
		return u
	}
	applied := apply()
	object := &vaultv1alpha1.ClusterVaultSecret{}
	object.Name = applied.GetName()
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatal(err)
	}
	w.vault.PutShared(t, string(object.Spec.Template.Spec.Path), `{"username":"puller","password":"p"}`, &secret.AccessPolicy{
		AllowedEnvironments: []string{"production"}, AllowedServices: []string{a + "/api", b + "/api"},
	})
	w.startOperator()
	w.outcomes(object, vaultv1alpha1.ReasonSynced, a+": Synced", b+": Synced")

	before := &unstructured.Unstructured{}
	before.SetGroupVersionKind(applied.GroupVersionKind())
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(object), before); err != nil {
		t.Fatal(err)
	}
	child := w.child(a, object.Name)
	if diff := cmp.Diff(before.Object, apply(client.DryRunAll).Object); diff != "" {
		t.Errorf("the diff is (-is +applied):\n%s", diff)
	}
	if diff := cmp.Diff(before.Object, apply().Object); diff != "" {
		t.Errorf("the second apply changed the object (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(child, w.child(a, object.Name)); diff != "" {
		t.Errorf("the second apply changed a VaultSecret (-before +after):\n%s", diff)
	}
	owners := map[string]bool{}
	for _, f := range before.GetManagedFields() {
		owners[fmt.Sprintf("%s %s/%s", f.Operation, f.Manager, f.Subresource)] = true
	}
	if diff := cmp.Diff(map[string]bool{"Apply gitops/": true, "Update coffer/status": true}, owners); diff != "" {
		t.Errorf("owners of fields (-want +got):\n%s", diff)
	}
}
