package vault_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestVaultFromBeforeKeysHadRows: a database of the first migration, with a keyset of
// format 1 and a version under its key, gets the rows of its keys, and its key can be
// replaced.
func TestVaultFromBeforeKeysHadRows(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("keyring", "testdata", "keyfile-format1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ WrappedKeyset []byte }
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	root := goldenRoot(t)
	ring, err := keyring.Load(t.Context(), root, golden.WrappedKeyset)
	if err != nil {
		t.Fatal(err)
	}
	vaultID, secretID := uuid.New(), uuid.New()
	sealed, err := envelope.Seal(t.Context(), ring, envelope.Binding{Vault: vaultID, Secret: secretID, Path: vaulttest.Path(t, "a/b"), Version: 1}, []byte("old"))
	if err != nil {
		t.Fatal(err)
	}

	env := &vaulttest.Env{DSN: testkit.Postgres(t), Root: root}
	conn := connect(t, env)
	execFirstSchema(t, env)
	exec(t, env, `INSERT INTO vault (id, wrapped_keyset) VALUES ($1, $2)`, vaultID, golden.WrappedKeyset)
	exec(t, env, `INSERT INTO secrets VALUES ($1, 'a/b', 1, 1, 1, 1, '', '{}', 0, '{}', '{}', NULL, '')`, secretID)
	exec(t, env, `INSERT INTO secret_versions VALUES ($1, 1, $2, $3, now(), 'x', '')`, secretID, sealed.WrappedKey, sealed.Box)

	upgraded := vaulttest.StartWith(t, vaulttest.Config{DSN: env.DSN, NoRedis: true, Root: root})
	s := status(t, upgraded)
	if s.Revision != 0 || len(s.Findings) != 0 || len(s.Keys) != 1 || s.Keys[0].State != vault.KeyPrimary || s.Keys[0].Versions != 1 {
		t.Fatalf("after the upgrade: %+v", s)
	}
	old := primary(t, upgraded)
	rotate(t, upgraded.Engine, upgraded.Admin)
	if n := rewrapAll(t, upgraded.Engine, upgraded.Admin); n != 1 {
		t.Errorf("%d versions rewrapped, want 1", n)
	}
	destroy(t, upgraded.Engine, upgraded.Admin, old)
	if got := states(t, upgraded); got != "primary 1" {
		t.Errorf("states: %s", got)
	}
	var wrapped []byte
	if err := conn.QueryRow(t.Context(), `SELECT wrapped_key FROM secret_versions`).Scan(&wrapped); err != nil {
		t.Fatal(err)
	}
	var stored []byte
	if err := conn.QueryRow(t.Context(), `SELECT wrapped_keyset FROM vault`).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	now, err := keyring.Load(t.Context(), root, stored)
	if err != nil {
		t.Fatal(err)
	}
	value, err := envelope.Open(t.Context(), now, envelope.Binding{Vault: vaultID, Secret: secretID, Path: vaulttest.Path(t, "a/b"), Version: 1},
		envelope.Sealed{WrappedKey: wrapped, Box: sealed.Box})
	if err != nil || string(value) != "old" {
		t.Errorf("the version opens to %q, %v", value, err)
	}
}
