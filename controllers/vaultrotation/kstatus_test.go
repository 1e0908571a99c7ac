package vaultrotation_test

import (
	"testing"

	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// Tools that know Kubernetes' conventions, and nothing of Coffer, take a VaultRotation for current when the engine has it as it is, and not
// before, and not after a rotation that failed. A rotation that is under way is nothing to wait for.
func TestKStatus(t *testing.T) {
	w := newWorld(t)
	w.readers.total.Store(1)
	object := w.rotation("token")
	seenAs := func(when string, want status.Status) {
		t.Helper()
		if got := testkit.KStatus(t, w.client, object); got != want {
			t.Errorf("%s: kstatus says %s, want %s", when, got, want)
		}
	}
	seenAs("no operator has seen it", status.InProgressStatus)
	w.startRunner()
	w.startOperator()
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	seenAs("in force", status.CurrentStatus)
	w.run()
	w.runIs(object, rotation.Propagating, whatever)
	w.reasonIs(object, vaultv1alpha1.ReasonRotating)
	seenAs("a rotation is under way", status.CurrentStatus)
	if err := w.vault.Engine.FailRotation(t.Context(), vaulttest.Path(t, path), 2, "the pods crash"); err != nil {
		t.Fatal(err)
	}
	w.reasonIs(object, vaultv1alpha1.ReasonRotationFailed)
	seenAs("it failed", status.InProgressStatus)
	w.readers.moved.Store(1)
	w.runIs(object, rotation.RolledBack, whatever)
	w.run()
	w.runIs(object, rotation.Done, whatever)
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	seenAs("the next one is done", status.CurrentStatus)

	w.engine.down.Store(true)
	w.change(object, func(o *vaultv1alpha1.VaultRotation) { o.Spec.Schedule.Every = "60d" })
	w.reasonIs(object, vaultv1alpha1.ReasonVaultUnavailable)
	seenAs("not yet in force as it is now", status.InProgressStatus)
	w.engine.down.Store(false)
	w.change(object, func(o *vaultv1alpha1.VaultRotation) { o.Finalizers = []string{"example.com/waits"} })
	w.delete(object)
	seenAs("being deleted", status.TerminatingStatus)
	w.change(object, func(o *vaultv1alpha1.VaultRotation) { o.Finalizers = nil })
}
