package clustervaultsecret_test

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The sample gives what it says.
func TestSample(t *testing.T) {
	w := newWorld(t)
	namespace := w.namespace(w.team, "api")
	text, err := os.ReadFile("../../config/samples/cluster/clustervaultsecret.yaml")
	if err != nil {
		t.Fatal(err)
	}
	object := &vaultv1alpha1.ClusterVaultSecret{}
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		t.Fatal(err)
	}
	w.vault.PutShared(t, string(object.Spec.Template.Spec.Path), `{"username":"puller","password":"p"}`, &secret.AccessPolicy{
		AllowedEnvironments: []string{"production"}, AllowedServices: []string{namespace + "/api"},
	})
	// Other tests' namespaces are of the environment, too; those that go keep their labels.
	object.Spec.NamespaceSelector.MatchLabels[teamLabel] = w.team
	w.create(object)
	w.startOperator()
	w.outcomes(object, vaultv1alpha1.ReasonSynced, namespace+": Synced")
	s := &corev1.Secret{}
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: object.Name}, s); err != nil {
		t.Fatal(err)
	}
	want := `{"auths": {"registry.example.com": {"username": "puller", "password": "p"}}}` + "\n"
	if got := string(s.Data[corev1.DockerConfigJsonKey]); s.Type != corev1.SecretTypeDockerConfigJson || got != want {
		t.Errorf("the Secret of type %s holds %s", s.Type, got)
	}
}
