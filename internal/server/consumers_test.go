package server_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// TestConsumersOverTheAPI: VaultSecrets with their workloads, and who reads; a path that is
// not there and one that is denied give the same answer.
func TestConsumersOverTheAPI(t *testing.T) {
	vault := vaulttest.Start(t)
	e := start(t, vault, nil)
	ctx, c, path := t.Context(), e.client(t, e.admin(t)), "production/payments/database"
	vault.Put(t, path, "one")
	if found, err := c.Consumers(ctx, path); err != nil || len(found) != 0 {
		t.Errorf("nobody has it: %+v, %v", found, err)
	}
	must(t, vault.Engine.Acknowledge(ctx, "one", []secret.Acknowledgement{{
		Kind: secret.ConsumerVaultSecret, Namespace: "payments", Name: "database", UID: "u-1", State: "RollingOut", Workloads: 3, Rolled: 2,
		Sources: []secret.HeldVersion{{Path: vaulttest.Path(t, path), Version: 1}},
	}}))
	_, err := vault.Engine.Read(ctx, vault.Admin, secret.Ref{Path: vaulttest.Path(t, path)})
	must(t, err)
	found, err := c.Consumers(ctx, path)
	must(t, err)
	want := []sdk.Consumer{
		{Kind: sdk.ConsumerVaultSecret, Cluster: "one", Namespace: "payments", Name: "database", UID: "u-1", Version: 1, Workloads: 3, RolledOut: 2, State: "RollingOut"},
		{Kind: sdk.ConsumerUser, Cluster: vault.Admin.Cluster, Name: "admin", Version: 1, State: sdk.ConsumerReading},
	}
	if diff := cmp.Diff(want, found, cmpopts.IgnoreFields(sdk.Consumer{}, "Since", "SeenAt")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, consumer := range found {
		if consumer.Since.IsZero() || consumer.SeenAt.IsZero() {
			t.Errorf("%+v has no times", consumer)
		}
	}
	_, err = c.Consumers(ctx, "production/none")
	if sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
		t.Errorf("a path that does not exist: %v", err)
	}
	if _, err := c.Consumers(ctx, "Production"); sdk.CodeOf(err) != sdk.CodeInvalid {
		t.Errorf("no path: %v", err)
	}
}

// TestBoundsOfCachesAgree: the engine counts on what the client promises.
func TestBoundsOfCachesAgree(t *testing.T) {
	if sdk.MaxCacheAge != secret.MaxCacheAge {
		t.Errorf("a client keeps a value for %v, and the engine counts on %v", sdk.MaxCacheAge, secret.MaxCacheAge)
	}
}
