package vault_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/cache"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// known remembers the names under which the engine keeps boxes.
type known struct {
	cache.Layer
	mu    sync.Mutex
	names []string
}

func (k *known) Put(ctx context.Context, name string, box []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Contains(k.names, name) {
		k.names = append(k.names, name)
	}
	k.Layer.Put(ctx, name, bytes.Clone(box))
}

// withCaches is an engine on env's vault, with layers of the test's own.
func withCaches(t *testing.T, env *vaulttest.Env, registry *prometheus.Registry, layers ...cache.Layer) (*vault.Engine, *store.Store) {
	t.Helper()
	return newEngine(t, env, vault.Config{Caches: layers, Registerer: registry})
}

// newEngine is an engine on env's vault that does nothing by itself.
func newEngine(t *testing.T, env *vaulttest.Env, config vault.Config) (*vault.Engine, *store.Store) {
	t.Helper()
	return newEngineOver(t, env, config, func(k vault.Keyring) vault.Keyring { return k })
}

// newEngineOver is newEngine over what keys makes of the vault's keyring.
func newEngineOver(t *testing.T, env *vaulttest.Env, config vault.Config, keys func(vault.Keyring) vault.Keyring) (*vault.Engine, *store.Store) {
	t.Helper()
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
	config.Store, config.VaultID, config.Keyring = db, held.ID, keys(ring)
	return vault.New(config), db
}

func memory(t *testing.T, size uint64) *cache.Memory {
	t.Helper()
	m, err := cache.NewMemory(size)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestPoisonedLayersAreMisses: whoever writes into a layer can neither change nor stop
// a read, and what was put there is replaced.
func TestPoisonedLayersAreMisses(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "old")
	env.Put(t, "a/b", "new")
	env.Put(t, "a/c", "other")
	for _, poisoned := range []string{"memory", "redis"} {
		t.Run(poisoned, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			layers := []*known{{Layer: memory(t, 1<<20)}, {Layer: cache.NewRedis(redisClient(t, env))}}
			layer := layers[slices.Index([]string{"memory", "redis"}, poisoned)]
			engine, _ := withCaches(t, env, registry, layer)
			for i, want := range []string{"old", "new", "other"} { // in the order of layer.names
				wantRead(t, engine, env.Admin, []secret.Ref{ref(t, "a/b", 1), ref(t, "a/b", 2), ref(t, "a/c", 0)}[i], want)
			}
			boxes := make([][]byte, len(layer.names))
			for i, name := range layer.names {
				boxes[i], _ = layer.Get(t.Context(), name)
				boxes[i] = bytes.Clone(boxes[i])
			}
			newer := boxes[1]
			flipped := bytes.Clone(newer)
			flipped[len(flipped)-1] ^= 1
			poisons := map[string][]byte{
				"an older version replayed": boxes[0], "another path's": boxes[2], "empty": {}, "cut": newer[:len(newer)-1],
				"longer": append(bytes.Clone(newer), 0), "one bit": flipped, "noise": bytes.Repeat([]byte("x"), 300),
			}
			for name, poison := range poisons {
				layer.Put(t.Context(), layer.names[1], poison)
				wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "new")
				if got, _ := layer.Get(t.Context(), layer.names[1]); !bytes.Equal(got, newer) {
					t.Errorf("%s: the poison was not replaced", name)
				}
			}
			misses, bad := 3, len(poisons)
			if poisoned == "redis" { // where an empty box reads as one that is not there
				misses, bad = misses+1, bad-1
			}
			wantCacheReads(t, registry, map[string]int{poisoned + " miss": misses, poisoned + " bad": bad})
		})
	}
}

func wantCacheReads(t *testing.T, registry *prometheus.Registry, want map[string]int) {
	t.Helper()
	expected := "# HELP coffer_engine_cache_reads_total Questions to the cache by layer (memory, redis) and how it answered: hit, miss, or bad when what it held did not open.\n" +
		"# TYPE coffer_engine_cache_reads_total counter\n"
	for labels, n := range want {
		var layer, result string
		_, _ = fmt.Sscan(labels, &layer, &result)
		expected += fmt.Sprintf("coffer_engine_cache_reads_total{layer=%q,result=%q} %d\n", layer, result, n)
	}
	if err := testutil.GatherAndCompare(registry, bytes.NewBufferString(expected), "coffer_engine_cache_reads_total"); err != nil {
		t.Error(err)
	}
}

// TestLayersFillEachOther: what a further layer has comes into the nearer one, and a
// read then asks Postgres for one statement less.
func TestLayersFillEachOther(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "v")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v") // another replica puts it into Redis
	registry := prometheus.NewRegistry()
	engine, db := withCaches(t, env, registry, memory(t, 1<<20), cache.NewRedis(redisClient(t, env)))
	bare, bareDB := withCaches(t, env, prometheus.NewRegistry())
	wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v") // the policies are read too
	wantRead(t, bare, env.Admin, ref(t, "a/b", 0), "v")
	wantCacheReads(t, registry, map[string]int{"memory miss": 1, "redis hit": 1})
	const reads = 10
	cost := func(e *vault.Engine, db *store.Store) uint64 {
		before := db.Statements()
		for range reads {
			wantRead(t, e, env.Admin, ref(t, "a/b", 0), "v")
		}
		return db.Statements() - before
	}
	without, with := cost(bare, bareDB), cost(engine, db)
	if without-with != reads {
		t.Errorf("%d reads cost %d statements with the caches, %d without; want one less each", reads, with, without)
	}
	wantCacheReads(t, registry, map[string]int{"memory miss": 1, "redis hit": 1, "memory hit": reads})
}

// TestDestroyedRowIsNotServedFromTheCache: the wrapped key is never cached, so a box
// in memory serves nobody once its version's row is gone.
func TestDestroyedRowIsNotServedFromTheCache(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, CacheBytes: 1 << 20})
	env.Put(t, "a/b", "v")
	env.Put(t, "a/b", "w")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 1), "v")
	exec(t, env, `DELETE FROM secret_versions WHERE version = 1`)
	if _, err := read(t, env.Engine, env.Admin, ref(t, "a/b", 1)); err == nil {
		t.Error("a version whose row is gone was read")
	}
}

// TestDenialCountsAtOnceWithACachedBox: the caches are asked after the decision, on
// every replica.
func TestDenialCountsAtOnceWithACachedBox(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{CacheBytes: 1 << 20})
	env.Put(t, "a/b", "v")
	caller := vaulttest.ServiceAccount("payments", "api", "")
	env.AllowAll(t, caller, "a/*")
	other := env.Open(t)
	for range 2 {
		wantRead(t, env.Engine, caller, ref(t, "a/b", 0), "v")
		wantRead(t, other, caller, ref(t, "a/b", 0), "v")
	}
	if _, err := env.Engine.ReplacePolicies(t.Context(), caller.Cluster, nil); err != nil {
		t.Fatal(err)
	}
	for _, engine := range []*vault.Engine{env.Engine, other} {
		_, err := read(t, engine, caller, ref(t, "a/b", 0))
		wantError(t, err, secret.ErrDenied)
	}
}
