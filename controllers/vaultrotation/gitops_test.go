package vaultrotation_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// A GitOps controller that applies the same YAML again finds nothing to change, and shows no diff, after the operator has done its work.
func TestGitOpsSeesNoDiff(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	text := `
apiVersion: vault.coffer.dev/v1alpha1
kind: VaultRotation
metadata: {name: token}
spec:
  path: ` + path + `
  serviceAccountRef: {namespace: ` + w.namespace + `, name: ` + account + `}
  schedule: {cron: 30 3 * * 1, windows: [{days: [Mon], from: "01:00", to: "05:00"}]}
  method: {generate: {uuid: {}, property: token}}`
	apply := func(options ...client.ApplyOption) *unstructured.Unstructured {
		t.Helper()
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		options = append(options, client.FieldOwner("gitops"))
		if err := w.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), options...); err != nil {
			t.Fatal(err)
		}
		return u
	}
	applied := apply()
	object := &vaultv1alpha1.VaultRotation{}
	object.Name = applied.GetName()
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)

	before := &unstructured.Unstructured{}
	before.SetGroupVersionKind(applied.GroupVersionKind())
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(object), before); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Object, apply(client.DryRunAll).Object); diff != "" {
		t.Errorf("the diff is (-is +applied):\n%s", diff)
	}
	if diff := cmp.Diff(before.Object, apply().Object); diff != "" {
		t.Errorf("the second apply changed the object (-before +after):\n%s", diff)
	}
	owners := map[string]bool{}
	for _, f := range before.GetManagedFields() {
		owners[fmt.Sprintf("%s %s/%s", f.Operation, f.Manager, f.Subresource)] = true
	}
	if !owners["Apply gitops/"] || len(owners) != 2 {
		t.Errorf("owners of fields are %v, want gitops and, of the status, the operator", owners)
	}
}
