package vault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestDeniedEqualsMissing: neither the error nor the audit row's shape tells an
// existing path from one that is not there.
func TestDeniedEqualsMissing(t *testing.T) {
	env := vaulttest.Start(t)
	env.Sync(t, "default")
	env.Put(t, "p/hidden", "v")
	stranger := vaulttest.ServiceAccount("other", "api", "production")
	stranger.RequestID = "request-1"
	ctx := t.Context()
	for name, operate := range map[string]func(secret.Path) error{
		"read": func(p secret.Path) error { _, err := env.Engine.Read(ctx, stranger, secret.Ref{Path: p}); return err },
		"read of a version": func(p secret.Path) error {
			_, err := env.Engine.Read(ctx, stranger, secret.Ref{Path: p, Version: 7})
			return err
		},
		"check": func(p secret.Path) error {
			_, err := env.Engine.Check(ctx, stranger, []secret.Ref{{Path: p}})
			return err
		},
		"metadata": func(p secret.Path) error { _, err := env.Engine.Metadata(ctx, stranger, p); return err },
		"put": func(p secret.Path) error {
			_, err := env.Engine.Put(ctx, stranger, secret.PutRequest{Path: p})
			return err
		},
		"put with the wrong version": func(p secret.Path) error {
			_, err := env.Engine.Put(ctx, stranger, secret.PutRequest{Path: p, ExpectedVersion: new(int64(5))})
			return err
		},
		"rotate": func(p secret.Path) error {
			_, err := env.Engine.Rotate(ctx, stranger, secret.PutRequest{Path: p})
			return err
		},
		"delete": func(p secret.Path) error { return env.Engine.Delete(ctx, stranger, p) },
		"explain": func(p secret.Path) error {
			_, err := env.Engine.Explain(ctx, stranger, env.Admin, p, policy.Read, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			answer := func(path string) (string, audit.Entry) {
				err := operate(vaulttest.Path(t, path))
				wantError(t, err, secret.ErrDenied)
				return strings.ReplaceAll(err.Error(), path, "PATH"), lastAudit(t, env)
			}
			deniedError, deniedRow := answer("p/hidden")
			missingError, missingRow := answer("p/absent")
			if deniedError != missingError {
				t.Errorf("the errors differ: %q, %q", deniedError, missingError)
			}
			if diff := cmp.Diff(deniedRow, missingRow, cmpopts.IgnoreFields(audit.Entry{}, "ID", "At", "Path")); diff != "" {
				t.Errorf("the audit rows differ (-denied +missing):\n%s", diff)
			}
			if deniedRow.Decision != audit.Denied || deniedRow.Caller != "other/api" || deniedRow.CallerUID != stranger.UID || deniedRow.RequestID != "request-1" {
				t.Errorf("audit row: %+v", deniedRow)
			}
		})
	}
}

// TestDenialCountsAtOnceOnEveryReplica: the next read after a policy change is
// decided by it, also by an engine that had the old policies in memory and the
// value in the cache.
func TestDenialCountsAtOnceOnEveryReplica(t *testing.T) {
	env := vaulttest.Start(t)
	replica := env.Open(t)
	api := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, api, "**")
	env.Put(t, "a/b", "v")
	wantRead(t, replica, api, ref(t, "a/b", 0), "v")
	pattern, err := policy.ParsePattern("a/*")
	if err != nil {
		t.Fatal(err)
	}
	deny, err := policy.New("stop", []policy.Rule{{
		Effect: policy.Deny, Paths: []policy.Pattern{pattern}, Capabilities: []policy.Capability{policy.Read},
		Subjects: policy.Subjects{Groups: []string{"system:serviceaccounts"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := env.Engine.ReplacePolicies(t.Context(), "default", []policy.Policy{deny}); err != nil || !changed {
		t.Fatalf("replace: %v, %v", changed, err)
	}
	_, err = read(t, replica, api, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
	if got := lastAudit(t, env); got.Rule != "VaultPolicy stop rule 1" {
		t.Errorf("the audit row does not name the rule: %+v", got)
	}
	if changed, err := replica.ReplacePolicies(t.Context(), "default", []policy.Policy{deny}); err != nil || changed {
		t.Errorf("the same policies again: changed %v, %v", changed, err)
	}
}

func TestAccessTakenBackCountsAtOnce(t *testing.T) {
	env := vaulttest.Start(t)
	env.Sync(t, "default")
	replica, api := env.Open(t), vaulttest.ServiceAccount("payments", "api", "production")
	env.PutShared(t, "a/b", "v", &secret.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"*"}})
	wantRead(t, replica, api, ref(t, "a/b", 0), "v")
	env.PutShared(t, "a/b", "v2", &secret.AccessPolicy{})
	for _, version := range []int64{0, 1} {
		_, err := read(t, replica, api, ref(t, "a/b", version))
		wantError(t, err, secret.ErrDenied)
	}
}

func TestPoliciesAreOfTheirCluster(t *testing.T) {
	env := vaulttest.Start(t)
	api := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, api, "**")
	env.Put(t, "a/b", "v")
	wantRead(t, env.Engine, api, ref(t, "a/b", 0), "v")
	api.Cluster = "elsewhere"
	env.Sync(t, api.Cluster)
	_, err := read(t, env.Engine, api, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
}

func TestReplacePoliciesRefusesNonsense(t *testing.T) {
	env := vaulttest.Start(t)
	_, err := env.Engine.ReplacePolicies(t.Context(), "", nil)
	wantError(t, err, secret.ErrInvalid)
	_, err = env.Engine.ReplacePolicies(t.Context(), "default", []policy.Policy{{Name: "a"}, {Name: "b"}, {Name: "a"}})
	wantError(t, err, secret.ErrInvalid)
}

// TestNothingLeavesUnaudited: when the audit row cannot be written, nothing is
// served, written or deleted.
func TestNothingLeavesUnaudited(t *testing.T) {
	env := vaulttest.Start(t)
	path := vaulttest.Path(t, "a/b")
	env.Put(t, "a/b", "v")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	exec(t, env, `ALTER TABLE audit ADD CONSTRAINT full_disk CHECK (false) NOT VALID`)
	ctx := t.Context()
	for name, operate := range map[string]func() error{
		"read": func() error { _, err := read(t, env.Engine, env.Admin, secret.Ref{Path: path}); return err },
		"put": func() error {
			_, err := env.Engine.Put(ctx, env.Admin, secret.PutRequest{Path: path})
			return err
		},
		"metadata": func() error { _, err := env.Engine.Metadata(ctx, env.Admin, path); return err },
		"list":     func() error { _, err := env.Engine.List(ctx, env.Admin, secret.Prefix{}, secret.Path{}, 0); return err },
		"delete":   func() error { return env.Engine.Delete(ctx, env.Admin, path) },
		"denied": func() error {
			_, err := read(t, env.Engine, vaulttest.ServiceAccount("x", "y", ""), secret.Ref{Path: path})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, operate(), secret.ErrUnavailable) })
	}
	exec(t, env, `ALTER TABLE audit DROP CONSTRAINT full_disk`)
	m, err := env.Engine.Metadata(ctx, env.Admin, path)
	if err != nil || m.Version != 1 {
		t.Errorf("a write without its audit row happened: %v, %v", m, err)
	}
}

func TestPostgresDown(t *testing.T) {
	t.Parallel() // it mostly waits
	server := testkit.PostgresServer(t)
	env := vaulttest.StartWith(t, vaulttest.Config{DSN: server.DSN()})
	env.Put(t, "a/b", "v")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v") // it is in the cache now
	if err := env.Engine.Ready(t.Context()); err != nil {
		t.Errorf("ready: %v", err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := read(t, env.Engine, env.Admin, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrUnavailable)
	wantError(t, env.Engine.Ready(t.Context()), secret.ErrUnavailable)
	if strings.Contains(err.Error(), server.DSN()) {
		t.Error("the error shows the database URL")
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, err = read(t, env.Engine, env.Admin, ref(t, "a/b", 0))
		if err == nil || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		t.Errorf("reads do not work again: %v", err)
	}
}
