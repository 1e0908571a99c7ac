package vaultsecret_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// certificate is a value of the properties certificate and key, in PEM.
func certificate(t testing.TB) (value string, properties map[string]string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	properties = map[string]string{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"key":         string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}
	text, err := json.Marshal(properties)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), properties
}

// A TLS Secret is written when certificate and key fit together, and not when a new
// version does not: then the Secret stays, and the status says what is wrong.
func TestTypeIsChecked(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	const path = "production/gateway/certificate"
	good, first := certificate(t)
	_, second := certificate(t)
	w.put(path, good)
	object := w.vaultSecret("tls", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Data = []vaultv1alpha1.VaultSecretData{
			{Key: "tls.crt", Path: path, Property: "certificate"}, {Key: "tls.key", Path: path, Property: "key"},
		}
		s.Target.Type = string(corev1.SecretTypeTLS)
	})
	want := map[string]string{"tls.crt": first["certificate"], "tls.key": first["key"]}
	w.holds("tls", want)
	w.ready(object)

	mixed, err := json.Marshal(map[string]string{"certificate": first["certificate"], "key": second["key"]})
	if err != nil {
		t.Fatal(err)
	}
	w.rotate(path, string(mixed))
	said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonInvalidContent).Message
	if !strings.Contains(said, "tls.key is not the key of the first certificate in tls.crt") {
		t.Errorf("the message is %q", said)
	}
	w.hasEvent(object, vaultv1alpha1.ReasonInvalidContent)
	w.holds("tls", want)

	better, third := certificate(t)
	w.rotate(path, better)
	w.holds("tls", map[string]string{"tls.crt": third["certificate"], "tls.key": third["key"]})
	w.ready(object)
}

// A docker pull secret out of a template, and labels that the API server would refuse.
func TestTemplateOfAPullSecret(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put("production/registry", `{"username":"u","password":"p\"w"}`)
	object := w.vaultSecret("pull", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = "production/registry"
		s.Target.Type = string(corev1.SecretTypeDockerConfigJson)
		s.Target.Template = map[string]string{
			".dockerconfigjson": `{"auths":{"registry.example.com":{"username":{{ toJson .username }},"password":{{ toJson .password }}}}}`,
		}
	})
	w.holds("pull", map[string]string{".dockerconfigjson": `{"auths":{"registry.example.com":{"username":"u","password":"p\"w"}}}`})
	w.ready(object)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Labels = map[string]string{"team": "a b"} })
	if said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonInvalidSpec).Message; !strings.Contains(said, "spec.target.labels") {
		t.Errorf("the message is %q", said)
	}
}

// A change of the refresh annotation brings a reconcile, and the status tells that it
// was handled: also of one that fails, and not while suspended.
func TestRefreshRequest(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.vaultSecret("refreshed", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database; s.Suspend = true })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSuspended)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) {
		o.Annotations = map[string]string{vaultv1alpha1.RefreshAnnotation: "2026-11-26T10:00:00Z"}
	})
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.DeletionPolicy = vaultv1alpha1.DeletionRetain })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSuspended)
	if object.Status.LastRefreshRequest != "" {
		t.Errorf("a suspended VaultSecret has handled %q", object.Status.LastRefreshRequest)
	}
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Suspend = false })
	w.ready(object)
	if object.Status.LastRefreshRequest != "2026-11-26T10:00:00Z" {
		t.Errorf("the last refresh request is %q", object.Status.LastRefreshRequest)
	}
	w.refresh(object, "2026-11-26T10:00:01Z")

	denied := w.ofPath("denied", "production/payments/nothing")
	w.conditionIs(denied, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.refresh(denied, "now")
	w.conditionIs(denied, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
}

// What of a spec is wrong whatever the vault holds is told without a look into it, and
// ends with its correction.
func TestWrongSpecReadsNothing(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, `{"user":"app"}`)
	object := w.vaultSecret("wrong", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path, s.Target.Template = database, map[string]string{"USER": "{{ env .user }}"}
	})
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonTemplateFailed)
	if reads, rows := op.engine.reads.Load(), w.operatorRows(); reads != 0 || rows != 0 {
		t.Errorf("the vault was read %d times, and %d audit rows were written", reads, rows)
	}
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Template["USER"] = "{{ .user }}" })
	w.holds("wrong", map[string]string{"USER": "app"})
	w.ready(object)
}

// Values that are far more than a Secret takes are not all held at a time.
func TestValuesAreBounded(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	for i := range 12 {
		w.put(fmt.Sprintf("%slarge-%02d", folder, i), strings.Repeat("x", 1<<20))
	}
	object := w.ofPrefix("large")
	said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonInvalidSpec).Message
	if !strings.Contains(said, "more than 8 MiB") {
		t.Errorf("the message is %q", said)
	}
	w.eventually(func() string { // another look may be under way
		if got := op.engine.reads.Load(); got == 0 || got%9 != 0 {
			return fmt.Sprintf("%d values were read, want the 9 that are too much each time", got)
		}
		return ""
	})
}
