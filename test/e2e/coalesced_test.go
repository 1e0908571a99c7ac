//go:build e2e

package e2e

import (
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// TestThreeSecretsOfADeploymentRollItOnce when all three are rotated at the same time.
func TestThreeSecretsOfADeploymentRollItOnce(t *testing.T) {
	e := newEnvironment(t)
	names := []string{"database", "stripe", "mail"}
	var synced []*vaultv1alpha1.VaultSecret
	for _, name := range names {
		e.put(t, e.path(name), randomValue())
		synced = append(synced, e.vaultSecret(t, e.namespace, name, e.path(name)))
	}
	web := e.deployment()
	for _, name := range names[1:] {
		web.Spec.Template.Spec.Containers[0].EnvFrom = append(web.Spec.Template.Spec.Containers[0].EnvFrom, corev1.EnvFromSource{
			Prefix: name, SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		})
	}
	must(t, e.client.Create(t.Context(), web))
	for _, vs := range synced {
		e.waitForRolledOut(t, vs, 1, 1)
	}
	before := e.templateHashes(t)["web"]

	value := randomValue()
	var rotations sync.WaitGroup
	for _, name := range names {
		rotations.Go(func() {
			if _, err := tryCoffer(t.Context(), value, "rotate", e.path(name)); err != nil {
				t.Errorf("rotate %s: %v", name, err)
			}
		})
	}
	rotations.Wait()
	for _, vs := range synced {
		e.waitForRolledOut(t, vs, 2, 1)
	}
	e.waitForFingerprint(t, "web", value)
	if got := e.templateHashes(t)["web"] - before; got != 1 {
		t.Errorf("%d new ReplicaSets for three secrets that were rotated at the same time, want 1", got)
	}
}
