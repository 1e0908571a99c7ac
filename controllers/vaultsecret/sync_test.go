package vaultsecret_test

import (
	"encoding/base64"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

const database = "production/payments/database"

// What a VaultSecret may ask for, and the Secret that comes of it.
func TestContent(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, `{"user":"app","password":"one"}`)
	w.put("production/payments/license", "raw bytes")
	w.put("production/payments/certificate", `{"key":"`+base64.StdEncoding.EncodeToString([]byte("\x00\x01binary"))+`"}`)
	w.put("production/payments/history", "first")
	w.put("production/payments/history", "second")

	tests := map[string]struct {
		spec func(*vaultv1alpha1.VaultSecretSpec)
		want map[string]string
	}{
		"properties": {
			func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database },
			map[string]string{"user": "app", "password": "one"},
		},
		"raw": {
			func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = "production/payments/license" },
			map[string]string{"value": "raw bytes"},
		},
		"data": {
			func(s *vaultv1alpha1.VaultSecretSpec) {
				s.Data = []vaultv1alpha1.VaultSecretData{
					{Key: "PASSWORD", Path: database, Property: "password"},
					{Key: "LICENSE", Path: "production/payments/license"},
					{Key: "OLD", Path: "production/payments/history", Version: 1},
					{Key: "NEW", Path: "production/payments/history"},
					{Key: "tls.key", Path: "production/payments/certificate", Property: "key", Decode: vaultv1alpha1.DecodeBase64},
				}
			},
			map[string]string{"PASSWORD": "one", "LICENSE": "raw bytes", "OLD": "first", "NEW": "second", "tls.key": "\x00\x01binary"},
		},
		"path-and-data": {
			func(s *vaultv1alpha1.VaultSecretSpec) {
				s.Path = database
				s.Data = []vaultv1alpha1.VaultSecretData{{Key: "user", Path: "production/payments/license"}, {Key: "again", Property: "user"}}
			},
			map[string]string{"user": "raw bytes", "password": "one", "again": "app"},
		},
		"template": {
			func(s *vaultv1alpha1.VaultSecretSpec) {
				s.Path = database
				s.Target.Template = map[string]string{"DSN": "postgres://{{ .user }}:{{ .password }}@db/payments"}
			},
			map[string]string{"DSN": "postgres://app:one@db/payments"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.vaultSecret(name, test.spec)
			w.holds(name, test.want)
		})
	}
}

// The first sync writes the Secret and the status, and what each says.
func TestFirstSync(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, `{"user":"app","password":"one"}`)
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Target = vaultv1alpha1.VaultSecretTarget{
			Name: "payments-db", Type: "example.com/database",
			Labels: map[string]string{"team": "payments"}, Annotations: map[string]string{"note": "kept"},
		}
	})
	w.ready(object)

	s := w.secret("payments-db")
	if s.Type != "example.com/database" || s.Labels["team"] != "payments" || s.Annotations["note"] != "kept" ||
		s.Labels[vaultv1alpha1.ManagedByLabel] != "coffer" {
		t.Errorf("the Secret is %s with labels %v and annotations %v", s.Type, s.Labels, s.Annotations)
	}
	wantOwner := []metav1.OwnerReference{{
		APIVersion: "vault.coffer.dev/v1alpha1", Kind: "VaultSecret", Name: "payments", UID: object.UID,
		Controller: new(true), BlockOwnerDeletion: new(false),
	}}
	if diff := cmp.Diff(wantOwner, s.OwnerReferences); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	status := object.Status
	if status.Path != database || status.Version != 1 || status.ObservedGeneration != object.Generation ||
		status.Target.Name != "payments-db" || !cmp.Equal(status.Target.Keys, []string{"password", "user"}) ||
		status.Target.ContentChangedAt != nil || status.LastSyncTime == nil {
		t.Errorf("the status is %+v", status)
	}
	if got := op.engine.reads.Load(); got != 1 {
		t.Errorf("the path was read %d times, want once", got)
	}
	if got := s.ManagedFields; len(got) != 1 || got[0].Manager != "coffer" {
		t.Errorf("the Secret was written by %v, want by coffer once", got)
	}
}
