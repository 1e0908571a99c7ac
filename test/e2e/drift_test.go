//go:build e2e

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestHandEditedSecretIsPutBack edits, then deletes, a synced Secret.
func TestHandEditedSecretIsPutBack(t *testing.T) {
	e := newEnvironment(t)
	value := randomValue()
	e.put(t, e.path("database"), value)
	e.vaultSecret(t, e.namespace, "database", e.path("database"))
	e.waitForValue(t, "database", value)

	edit := client.RawPatch("application/merge-patch+json", []byte(`{"stringData":{"value":"edited by hand","extra":"key"}}`))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "database"}}
	must(t, e.client.Patch(t.Context(), secret, edit))
	e.waitForValue(t, "database", value)
	eventually(t, "the added key to go", func(ctx context.Context) (bool, error) {
		err := e.client.Get(ctx, client.ObjectKeyFromObject(secret), secret)
		return err == nil && secret.Data["extra"] == nil, err
	})

	must(t, e.client.Delete(t.Context(), secret))
	e.waitForValue(t, "database", value)
}
