package vault_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// countedKeyring counts MACs, but for those of the audit log.
type countedKeyring struct {
	vault.Keyring
	macs atomic.Int64
}

func (c *countedKeyring) MAC(purpose string, parts ...[]byte) [32]byte {
	if !strings.HasPrefix(purpose, "vault/audit-") {
		c.macs.Add(1)
	}
	return c.Keyring.MAC(purpose, parts...)
}

// TestListVerifiesOnlyWhatItShows: rows that the caller may not list cost no MAC.
func TestListVerifiesOnlyWhatItShows(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Sync(t, "default")
	for i := range 20 {
		env.Put(t, fmt.Sprintf("a/%d", i), "v")
	}
	db, err := store.Open(t.Context(), env.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	held, err := db.LoadOrCreateVault(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Load(t.Context(), env.Root, held.WrappedKeyset)
	if err != nil {
		t.Fatal(err)
	}
	counted := &countedKeyring{Keyring: ring}
	engine := vault.New(vault.Config{Store: db, VaultID: held.ID, Keyring: counted})
	list := func(caller secret.Caller) (paths int, macs int64) {
		t.Helper()
		before := counted.macs.Load()
		found, err := engine.List(t.Context(), caller, secret.Prefix{}, secret.Path{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(found), counted.macs.Load() - before
	}
	const ofPolicies = 1
	if paths, macs := list(vaulttest.ServiceAccount("other", "api", "")); paths != 0 || macs != ofPolicies {
		t.Errorf("who may list nothing: %d paths, %d MACs", paths, macs)
	}
	if paths, macs := list(env.Admin); paths != 20 || macs != ofPolicies+2*20 {
		t.Errorf("who may list all: %d paths, %d MACs", paths, macs)
	}
}
