package vaultsecret_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// A value stands in the Secret and nowhere else: not in the status, an event, a
// stamp, a metric, the log at its most talkative, Postgres or Redis.
func TestNoValueElsewhere(t *testing.T) {
	t.Parallel()
	const canary = "c4nary s3cret/value+"
	w, op := newRunningWorld(t)
	w.put(database, `{"password":"`+canary+`"}`)
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Target.Template = map[string]string{"DSN": "x:{{ .password }}", "ENCODED": "{{ b64enc .password }}"}
	})
	w.ready(object)
	d := w.deployment("api", envFrom("payments"))
	w.rotate(database, `{"password":"`+canary+`2"}`)
	w.stamped(d, "payments")
	change(w, w.secret("payments"), func(s *corev1.Secret) { s.Data["DSN"] = []byte("edited") })
	w.hasEvent(object, "Restored")
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Template["DSN"] = "{{ b64dec .password }}" })
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonTemplateFailed)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) {
		o.Spec.Target.Template, o.Spec.Target.Type = nil, string(corev1.SecretTypeDockerConfigJson)
	})
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonInvalidContent)
	op.stop()

	places := map[string]string{"the log": op.logs.String()}
	for name, list := range map[string]client.ObjectList{
		"VaultSecrets": &vaultv1alpha1.VaultSecretList{}, "events": &corev1.EventList{}, "Deployments": &appsv1.DeploymentList{},
	} {
		if err := w.client.List(t.Context(), list, client.InNamespace(w.namespace)); err != nil {
			t.Fatal(err)
		}
		text, err := yaml.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		places[name] = string(text)
	}
	families, err := op.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		places["metric "+family.GetName()] = family.String()
	}
	for place, text := range places {
		if text == "" {
			t.Errorf("%s: nothing was searched", place)
		}
		for _, form := range []string{
			canary, hex.EncodeToString([]byte(canary)), url.QueryEscape(canary), strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(canary)), "="),
		} {
			if strings.Contains(text, form) {
				t.Errorf("%s holds the value as %q", place, form)
			}
		}
	}
	if found := w.vault.Leaks(t, canary); len(found) > 0 {
		t.Errorf("the value stands in %v", found)
	}
}
