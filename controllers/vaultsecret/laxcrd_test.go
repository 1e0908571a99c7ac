package vaultsecret_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// laxen takes from a schema all that refuses a value of the right type.
func laxen(schema any) {
	switch s := schema.(type) {
	case map[string]any:
		for _, rule := range []string{
			"x-kubernetes-validations", "pattern", "enum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
			"minimum", "maximum", "required", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
		} {
			if _, isField := s[rule].(map[string]any); !isField {
				delete(s, rule)
			}
		}
		for _, part := range s {
			laxen(part)
		}
	case []any:
		for _, part := range s {
			laxen(part)
		}
	}
}

// laxCRDs is a directory with the CRDs, of which that of VaultSecrets takes any spec.
// What it takes of a status stays.
func laxCRDs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob(crds + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(file, "vaultsecrets") {
			crd := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(text, &crd.Object); err != nil {
				t.Fatal(err)
			}
			versions, _, err := unstructured.NestedFieldNoCopy(crd.Object, "spec", "versions")
			if err != nil {
				t.Fatal(err)
			}
			for _, version := range versions.([]any) {
				spec, found, err := unstructured.NestedFieldNoCopy(version.(map[string]any), "schema", "openAPIV3Schema", "properties", "spec")
				if err != nil || !found {
					t.Fatalf("no schema of the spec: %v", err)
				}
				laxen(spec)
			}
			if text, err = yaml.Marshal(crd.Object); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Objects that the API server stored without a rule of the CRD neither stop the operator
// nor make it write what the API server refuses; each is told a reason, and others are
// synced.
func TestHostileObjectsOnAnAPIServer(t *testing.T) {
	t.Parallel()
	server, err := kube.Start(laxCRDs(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := newWorldOn(t, server.Config(), vaulttest.Config{})
	w.vault.Sync(t, w.namespace)
	w.startOperator()
	for _, path := range []string{"a", "a/b", "b/c", "c/d"} {
		w.put(path, `{"user":"app","password":"one"}`)
	}
	var hostile []*vaultv1alpha1.VaultSecret
	for i, text := range vaultsecret.HostileObjects() {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		u.SetGroupVersionKind(vaultv1alpha1.GroupVersion.WithKind("VaultSecret"))
		u.SetNamespace(w.namespace)
		u.SetName(fmt.Sprintf("hostile-%d", i))
		if _, set, _ := unstructured.NestedString(u.Object, "spec", "serviceAccountName"); !set {
			if err := unstructured.SetNestedField(u.Object, "api", "spec", "serviceAccountName"); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.client.Create(t.Context(), u); err != nil {
			t.Logf("%d is refused by the API server itself: %.200v", i, err)
			continue
		}
		hostile = append(hostile, &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: u.GetName()}})
	}
	if len(hostile) < 40 {
		t.Errorf("only %d hostile objects were stored", len(hostile))
	}
	for _, object := range hostile {
		var ready *metav1.Condition
		w.eventually(func() string {
			ready = meta.FindStatusCondition(refreshed(w, object).Status.Conditions, vaultv1alpha1.ConditionReady)
			if ready == nil || ready.ObservedGeneration != object.Generation || ready.Reason == vaultv1alpha1.ReasonVaultUnavailable {
				return fmt.Sprintf("%s is told nothing of its own: %+v", object.Name, ready)
			}
			return ""
		})
		if ready.Reason == vaultv1alpha1.ReasonSecretWriteFailed {
			t.Errorf("%s: a request of ours was refused: %.300s", object.Name, ready.Message)
		}
	}
	w.put(database, "one")
	w.ready(w.ofPath("payments", database))
}
