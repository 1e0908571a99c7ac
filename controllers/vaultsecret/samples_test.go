package vaultsecret_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	w.put("production/payments/worker", `{"password":"correct horse"}`)
	return properties
}

// The samples give what they say.
func TestSamples(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	properties := w.putSamples()
	want := map[string]map[string]string{ // by the name of the Secret
		"payments-db": {"user": "payments", "password": "p/w"},
		"worker":      {"password": "correct horse"},
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
	for _, file := range vaultSecretSamples(t) {
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
		name := object.Status.Target.Name
		w.holds(name, want[name])
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("there are no samples %v", want)
	}
}

// vaultSecretSamples are the files of config/samples that hold a VaultSecret.
func vaultSecretSamples(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir("../../config/samples", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		var kind metav1.TypeMeta
		if err == nil {
			err = yaml.Unmarshal(text, &kind)
		}
		if kind.Kind == "VaultSecret" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
