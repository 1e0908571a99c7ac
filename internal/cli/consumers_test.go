package cli

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// acknowledged has VaultSecrets of two clusters have version 1 of a path: acknowledged PATH.
func (i *installation) acknowledged(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: acknowledged PATH")
		}
		a := secret.Acknowledgement{
			Kind: secret.ConsumerVaultSecret, Namespace: "payments", Name: "database", UID: "u", State: "RollingOut", Rolled: 2, Workloads: 3,
			Sources: []secret.HeldVersion{{Path: vaulttest.Path(t, args[0]), Version: 1}},
		}
		ts.Check(i.vault.Engine.Acknowledge(t.Context(), "east", []secret.Acknowledgement{a}))
		a.State, a.Rolled, a.Workloads = "Synced", 0, 0
		ts.Check(i.vault.Engine.Acknowledge(t.Context(), "west", []secret.Acknowledgement{a}))
	}
}
