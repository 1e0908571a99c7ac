package vaulttest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// adminCluster keeps Env.Admin's policy apart from the sets that the code under
// test replaces.
const adminCluster = "vaulttest"

// Env is a vault of the test's own.
type Env struct {
	// DSN is the Postgres URL, as superuser.
	DSN string
	// Roles are the roles that engines connect as; they connect by DSN when these are empty, as on a server that the test runs
	// itself.
	Roles testkit.Roles
	// RedisURL is empty when Config.NoRedis was set.
	RedisURL string
	// Root opens the vault's keyset.
	Root keyring.Root
	// Engine is the first engine on the vault.
	Engine *vault.Engine
	// Admin may do everything on every path and on the vault itself. It is of a cluster of its own, so
	// ReplacePolicies for another cluster does not take its rights away.
	Admin secret.Caller

	clock      func() time.Time
	cacheBytes uint64
	retention  int
	notify     bool
	end        func() // closes Engine

	mu      sync.Mutex
	allowed map[string][]policy.Rule // by cluster
}

// Config changes what Start makes.
type Config struct {
	// Clock of the engines; time.Now when nil.
	Clock func() time.Time
	// DSN of an empty database, and RedisURL, of servers that the test runs itself.
	DSN, RedisURL string
	// Root opens the keyset; a new key file when nil.
	Root keyring.Root
	// NoRedis makes engines without Redis.
	NoRedis bool
	// CacheBytes is what each engine keeps in memory; 0, as a rule, is nothing: tests
	// look at what stands in Postgres and Redis.
	CacheBytes uint64
	// AuditRetention is vault.Options.AuditRetention.
	AuditRetention int
	// Notify is vault.Options.Notify.
	Notify bool
}

// New returns an engine on a vault of the test's own.
func New(t testing.TB) *vault.Engine {
	t.Helper()
	return Start(t).Engine
}

// Start makes a vault.
func Start(t testing.TB) *Env {
	t.Helper()
	return StartWith(t, Config{})
}

// StartWith makes a vault as c says.
func StartWith(t testing.TB, c Config) *Env {
	t.Helper()
	env := &Env{
		DSN: c.DSN, RedisURL: c.RedisURL, Root: Root(t), clock: c.Clock, cacheBytes: c.CacheBytes, retention: c.AuditRetention, notify: c.Notify, allowed: map[string][]policy.Rule{},
		Admin: secret.Caller{Kind: secret.KindUser, Cluster: adminCluster, Name: "admin", Address: "127.0.0.1"},
	}
	if c.Root != nil {
		env.Root = c.Root
	}
	if env.DSN == "" {
		env.Roles = testkit.PostgresRoles(t)
		env.DSN = env.Roles.Superuser
	}
	if env.RedisURL == "" && !c.NoRedis {
		env.RedisURL = testkit.Redis(t)
	}
	env.Engine, env.end = env.open(t)
	env.AllowAll(t, env.Admin, "**", "sys/**")
	return env
}

// Open returns another engine on the vault, as another replica is. It is closed
// with the test.
func (e *Env) Open(t testing.TB) *vault.Engine {
	t.Helper()
	engine, _ := e.open(t)
	return engine
}

// CloseFirst closes Engine, which then has written its last.
func (e *Env) CloseFirst() { e.end() }

func (e *Env) open(t testing.TB) (*vault.Engine, func()) {
	t.Helper()
	options := vault.Options{
		DatabaseURL: e.DSN, RedisURL: e.RedisURL, Root: e.Root, Clock: e.clock, CacheBytes: e.cacheBytes,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), AuditRetention: e.retention, Notify: e.notify,
	}
	if e.Roles.Ordinary != "" {
		options.DatabaseURL, options.OwnerURL = e.Roles.Ordinary, e.Roles.Owner
	}
	engine, closeEngine, err := vault.Open(t.Context(), options)
	if err != nil {
		t.Fatalf("open an engine: %v", err)
	}
	end := sync.OnceFunc(closeEngine)
	t.Cleanup(end)
	return engine, end
}

// AllowAll adds a rule to the policies of caller's cluster: caller may do
// everything on the paths of the patterns. It replaces what others made of that
// cluster's policies.
func (e *Env) AllowAll(t testing.TB, caller secret.Caller, patterns ...string) {
	t.Helper()
	e.allow(t, caller, patterns, policy.Capabilities())
}

// Allow is AllowAll for some capabilities.
func (e *Env) Allow(t testing.TB, caller secret.Caller, pattern string, capabilities ...policy.Capability) {
	t.Helper()
	e.allow(t, caller, []string{pattern}, capabilities)
}

func (e *Env) allow(t testing.TB, caller secret.Caller, patterns []string, capabilities []policy.Capability) {
	t.Helper()
	paths := make([]policy.Pattern, len(patterns))
	for i, pattern := range patterns {
		var err error
		if paths[i], err = policy.ParsePattern(pattern); err != nil {
			t.Fatal(err)
		}
	}
	e.AllowRules(t, caller.Cluster, policy.Rule{
		Effect: policy.Allow, Paths: paths, Capabilities: capabilities, Subjects: subjects(caller),
	})
}

// AllowRules adds rules, denying ones too, to the policies of cluster.
func (e *Env) AllowRules(t testing.TB, cluster string, rules ...policy.Rule) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.allowed[cluster] = append(e.allowed[cluster], rules...)
	e.replace(t, cluster)
}

// Sync makes the cluster known, with the rules allowed so far: an engine allows
// nothing to a cluster whose policies were never synced.
func (e *Env) Sync(t testing.TB, cluster string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.replace(t, cluster)
}

func (e *Env) replace(t testing.TB, cluster string) {
	t.Helper()
	var set []policy.Policy
	if rules := e.allowed[cluster]; len(rules) > 0 {
		named, err := policy.New("vaulttest", rules)
		if err != nil {
			t.Fatal(err)
		}
		set = append(set, named)
	}
	if _, err := e.Engine.ReplacePolicies(context.Background(), cluster, set); err != nil {
		t.Fatalf("replace the policies: %v", err)
	}
}

func subjects(c secret.Caller) policy.Subjects {
	if c.Kind == secret.KindServiceAccount {
		return policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: c.Namespace, Name: c.Name}}}
	}
	return policy.Subjects{Users: []string{c.Name}}
}

// Root is a key file with a new key.
func Root(t testing.TB) keyring.Root {
	t.Helper()
	var key [32]byte
	_, _ = rand.Read(key[:])
	file := filepath.Join(t.TempDir(), "root-key")
	if err := os.WriteFile(file, []byte("current: "+base64.StdEncoding.EncodeToString(key[:])+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := keyring.KeyFileRoot(file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
