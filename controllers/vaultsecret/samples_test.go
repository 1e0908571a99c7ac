package vaultsecret_test

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// putSamples writes the values that the samples name, and returns the properties of the
// certificate.
func (w *world) putSamples() map[string]string {
	w.t.Helper()
	text, properties := certificate(w.t)
	w.put(database, `{"user":"payments","password":"p/w"}`)
	w.put("production/payments/partners/acme/token", "a")
	w.put("production/payments/partners/north-west", `{"id":"1"}`)
	w.put("production/shared/stripe", `{"key":"s"}`)
	w.put("production/payments/certificate", text)
	w.put("production/payments/registry", `{"username":"payments","password":"r"}`)
	return properties
}

// The samples give what they say.
func TestSamples(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	properties := w.putSamples()
	want := map[string]map[string]string{
		"everything": {
			"DB_user": "payments", "DB_password": "p/w", "PARTNER_acme_token": "a", "PARTNER_north_west_id": "1", "STRIPE": "s",
		},
		"api-tls":           {"tls.crt": properties["certificate"], "tls.key": properties["key"]},
		"database-verified": {"user": "payments", "password": "p/w"},
		"database-rolled":   {"user": "payments", "password": "p/w"},
		"registry":          {".dockerconfigjson": `{"auths": {"registry.example.com": {"username": "payments", "password": "r"}}}` + "\n"},
		"database-files": {
			"DSN": "postgres://payments:p%2Fw@db.payments:5432/payments", ".pgpass": "db.payments:5432:payments:payments:p/w\n",
			"config.json": `{"user": "payments", "password": "p/w"}` + "\n",
		},
	}
	files, err := filepath.Glob("../../config/samples/secrets/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		object := &vaultv1alpha1.VaultSecret{}
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		object.Namespace = w.namespace
		w.create(object)
		w.ready(object)
		w.holds(object.Name, want[object.Name])
		delete(want, object.Name)
	}
	if len(want) > 0 {
		t.Errorf("there are no samples %v", want)
	}
}
