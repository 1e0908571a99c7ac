package vault_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestConcurrentWritersNumberEveryVersionOnce: writers of two replicas race on a
// new path, and each acknowledged write is a version of its own, 1 to N, that
// holds what its writer wrote.
func TestConcurrentWritersNumberEveryVersionOnce(t *testing.T) {
	env := vaulttest.Start(t)
	replicas := []*vault.Engine{env.Engine, env.Open(t)}
	const writers, each = 8, 10
	var mu sync.Mutex
	values := map[int64]string{}
	var wait sync.WaitGroup
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				value := fmt.Sprintf("writer %d write %d", w, i)
				v, err := secret.NewValue([]byte(value))
				if err != nil {
					t.Error(err)
				}
				m, err := replicas[w%2].Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: v})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if earlier, taken := values[m.Version]; taken {
					t.Errorf("version %d was given to %q and %q", m.Version, earlier, value)
				}
				values[m.Version] = value
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	for version := int64(1); version <= writers*each; version++ {
		wantRead(t, replicas[version%2], env.Admin, ref(t, "a/b", version), values[version])
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), values[writers*each])
}

// TestConcurrentCompareAndSetHasOneWinner also on a path that does not exist yet.
func TestConcurrentCompareAndSetHasOneWinner(t *testing.T) {
	env := vaulttest.Start(t)
	for expected := range int64(5) {
		var won, lost atomic.Int64
		var wait sync.WaitGroup
		for range 6 {
			wait.Go(func() {
				_, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b"), ExpectedVersion: &expected})
				switch {
				case err == nil:
					won.Add(1)
				case errors.Is(err, secret.ErrConflict):
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if won.Load() != 1 || lost.Load() != 5 {
			t.Errorf("expecting version %d: %d won, %d lost", expected, won.Load(), lost.Load())
		}
	}
}

// TestReplicasOpenOneDatabaseTogether: they race to migrate and to make the keyset.
func TestReplicasOpenOneDatabaseTogether(t *testing.T) {
	options := vault.Options{DatabaseURL: testkit.Postgres(t), Root: vaulttest.Root(t)}
	fingerprints := make([]string, 4)
	var wait sync.WaitGroup
	for i := range fingerprints {
		wait.Go(func() {
			engine, closeEngine, err := vault.Open(t.Context(), options)
			if err != nil {
				t.Error(err)
				return
			}
			defer closeEngine()
			fingerprints[i] = engine.Fingerprint("x")
		})
	}
	wait.Wait()
	if distinct := slices.Compact(fingerprints); len(distinct) != 1 {
		t.Errorf("the replicas have %d keysets", len(distinct))
	}
}

func TestOpenWithAnotherRootKeyFails(t *testing.T) {
	env := vaulttest.Start(t)
	_, _, err := vault.Open(t.Context(), vault.Options{DatabaseURL: env.DSN, Root: vaulttest.Root(t)})
	wantError(t, err, keyring.ErrRootKey)
}

func TestOpenShowsNoPassword(t *testing.T) {
	root := vaulttest.Root(t)
	for _, options := range []vault.Options{
		{DatabaseURL: "postgres://user:hunter2@127.0.0.1:1/x?connect_timeout=1", Root: root},
		{DatabaseURL: "postgres://user:hunter2@127.0.0.1:port/x", Root: root},
		{DatabaseURL: "hunter2", Root: root},
		{DatabaseURL: testkit.Postgres(t), RedisURL: "redis://:hunter2@127.0.0.1:port", Root: root},
		{DatabaseURL: testkit.Postgres(t), RedisURL: "hunter2", Root: root},
	} {
		_, _, err := vault.Open(t.Context(), options)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got error %v", err)
		}
	}
}
