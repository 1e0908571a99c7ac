package vaultpolicy_test

import (
	"testing"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit"
)

// Tools that know Kubernetes' conventions, and nothing of Coffer, take a VaultPolicy for
// current when the engine enforces it, and never before.
func TestKStatus(t *testing.T) {
	w := newWorld(t)
	object := w.policy("payments", rule(vaultv1alpha1.EffectAllow))
	seenAs := func(when string, want status.Status) {
		t.Helper()
		if got := testkit.KStatus(t, w.client, object); got != want {
			t.Errorf("%s: kstatus says %s, want %s", when, got, want)
		}
	}
	seenAs("no operator has seen it", status.InProgressStatus)
	w.startOperator()
	w.reasonIs(object, vaultv1alpha1.ReasonEnforced)
	seenAs("enforced", status.CurrentStatus)

	w.engine.down.Store(true)
	object.Spec.Rules[0].Environments = []string{"staging"}
	if err := w.client.Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	w.reasonIs(object, vaultv1alpha1.ReasonVaultUnavailable)
	seenAs("not yet enforced as it is now", status.InProgressStatus)
}
