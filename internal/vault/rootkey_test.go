package vault_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit/keyservice"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// openUnder opens a replica whose root key is root.
func openUnder(t *testing.T, env *vaulttest.Env, root keyring.Root) *vault.Engine {
	t.Helper()
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
		DatabaseURL: env.DSN, Root: root, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		KeyringEvery: 20 * time.Millisecond, RootEvery: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeEngine)
	return engine
}

func rootOf(t *testing.T, env *vaulttest.Env, engine *vault.Engine) string {
	t.Helper()
	status, err := engine.KeyringStatus(t.Context(), env.Admin)
	if err != nil {
		t.Fatal(err)
	}
	if len(status.Findings) > 0 {
		t.Errorf("findings %q", status.Findings)
	}
	return status.Root.String()
}

// TestMoveToAnotherRoot goes from a key file to a KMS plugin with three replicas that
// start together, then the plugin's key is rotated while they run. What was written
// before is read after each step, and one audit row says what happened.
func TestMoveToAnotherRoot(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	if _, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "production/a"), Value: vaulttest.Value(t, "value")}); err != nil {
		t.Fatal(err)
	}
	if root := rootOf(t, env, env.Engine); !strings.HasPrefix(root, "key-file ") {
		t.Errorf("the root key is %q", root)
	}
	plugin := keyservice.StartKMS(t)
	kms, closeKMS, err := keyring.KMSRoot(plugin.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeKMS() })

	var wg sync.WaitGroup
	engines := make([]*vault.Engine, 3)
	for i := range engines {
		wg.Go(func() { engines[i] = openUnder(t, env, keyring.WithPrevious(kms, env.Root)) })
	}
	wg.Wait()
	if root := rootOf(t, env, engines[0]); root != "kms key-1" {
		t.Errorf("after the move the root key is %q", root)
	}
	if n := rootRewraps(t, env); n != 1 {
		t.Errorf("%d audit rows of the move, want 1", n)
	}
	// Without the previous root, as after the move.
	alone := openUnder(t, env, kms)
	wantRead(t, alone, env.Admin, ref(t, "production/a", 0), "value")
	wantRead(t, env.Engine, env.Admin, ref(t, "production/a", 0), "value")

	plugin.Change(keyservice.KMSBehaviour{KeyID: "key-2"})
	deadline := time.After(20 * time.Second)
	for rootOf(t, env, alone) != "kms key-2" {
		select {
		case <-deadline:
			t.Fatal("a rotated remote key was not followed")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if n := rootRewraps(t, env); n != 2 {
		t.Errorf("%d audit rows of both, want 2", n)
	}
	wantRead(t, openUnder(t, env, kms), env.Admin, ref(t, "production/a", 0), "value")
	if root := rootOf(t, env, openUnder(t, env, kms)); root != "kms key-2" {
		t.Errorf("a restart made the root key %q", root)
	}
}

// TestRootState goes through what the status says of a root key: current, then rotated where it is,
// which this replica has not followed yet, then away. The rest of the status is there all the time.
func TestRootState(t *testing.T) {
	plugin := keyservice.StartKMS(t)
	kms, closeKMS, err := keyring.KMSRoot(plugin.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeKMS() })
	// The engine looks at its root key once a minute: not again in this test.
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Root: kms})
	want := func(state vault.RootState) {
		t.Helper()
		status, err := env.Engine.KeyringStatus(t.Context(), env.Admin)
		if err != nil {
			t.Fatal(err)
		}
		if wantRoot := (vault.RootStatus{RootInfo: keyring.RootInfo{Kind: "kms", KeyID: "key-1"}, State: state}); status.Root != wantRoot {
			t.Errorf("the root key is %s (%s), want %s (%s)", status.Root, status.Root.State, wantRoot, wantRoot.State)
		}
		if len(status.Keys) != 1 || len(status.Replicas) != 1 {
			t.Errorf("%d keys and %d replicas, want one of each", len(status.Keys), len(status.Replicas))
		}
	}
	want(vault.RootCurrent)
	plugin.Change(keyservice.KMSBehaviour{KeyID: "key-2"})
	want(vault.RootMoving)
	plugin.Stop()
	want(vault.RootUnknown)
}

func rootRewraps(t *testing.T, env *vaulttest.Env) int {
	t.Helper()
	n := 0
	for _, row := range auditRows(t, env, `WHERE action = 'root-rewrap'`) {
		if row.Decision != audit.Allowed || row.Caller != "system:root-keeper" || row.Path != "sys/keyring" {
			t.Errorf("audit row %+v", row)
		}
		n++
	}
	return n
}
