package vaultrotation_test

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// Each sample is in force as soon as there is its path, and an account that may rotate it.
func TestSamples(t *testing.T) {
	w := newWorld(t)
	files, err := filepath.Glob("../../config/samples/rotation/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w.startOperator()
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		object := &vaultv1alpha1.VaultRotation{}
		if err := yaml.Unmarshal(text, object); err != nil || object.Kind != "VaultRotation" {
			continue // of another kind, or several
		}
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Fatal(err)
		}
		found++
		object.Spec.ServiceAccountRef.Namespace = w.namespace
		if object.Spec.Path != path {
			w.vault.Put(t, string(object.Spec.Path), "one")
		}
		w.create(object)
		w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	}
	if found < 3 {
		t.Errorf("%d samples were found in %v", found, files)
	}
}
