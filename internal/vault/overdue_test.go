package vault_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// hands is a clock that a test moves.
type hands struct{ nanos atomic.Int64 }

func (h *hands) now() time.Time          { return time.Unix(0, h.nanos.Load()) }
func (h *hands) advance(d time.Duration) { h.nanos.Add(int64(d)) }

func newHands() *hands {
	h := &hands{}
	h.nanos.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return h
}

func TestOverdue(t *testing.T) {
	const day = 24 * time.Hour
	clock := newHands()
	env := vaulttest.StartWith(t, vaulttest.Config{Clock: clock.now})
	begin := clock.now().UTC()
	put := func(path string, days int) {
		t.Helper()
		if _, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, path), RotateAfterDays: &days}); err != nil {
			t.Fatal(err)
		}
	}
	put("p/a", 30)
	put("p/b", 31)
	put("p/never", 0)
	put("q/c", 1)
	put("p/deleted", 1)
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "p/deleted")); err != nil {
		t.Fatal(err)
	}
	overdue := func(path string, version int64, days int, at time.Time, by int) secret.Overdue {
		return secret.Overdue{Path: vaulttest.Path(t, path), Version: version, RotateAfterDays: days, RotatedAt: at, DaysOverdue: by}
	}
	check := func(prefix string, caller secret.Caller, want ...secret.Overdue) {
		t.Helper()
		parsed, err := secret.ParsePrefix(prefix)
		if err != nil {
			t.Fatal(err)
		}
		got, err := env.Engine.Overdue(t.Context(), caller, parsed)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(secret.Path{})); diff != "" {
			t.Errorf("overdue at %v (-want +got):\n%s", clock.now(), diff)
		}
	}
	check("", env.Admin)
	clock.advance(30 * day)
	check("p", env.Admin) // due this moment, not over it
	clock.advance(time.Second)
	check("", env.Admin, overdue("p/a", 1, 30, begin, 0), overdue("q/c", 1, 1, begin, 29))
	clock.advance(3 * day)
	check("p", env.Admin, overdue("p/a", 1, 30, begin, 3), overdue("p/b", 1, 31, begin, 2))

	reader := vaulttest.ServiceAccount("team", "reader", "")
	env.Allow(t, reader, "q/*", policy.List)
	check("", reader, overdue("q/c", 1, 1, begin, 32))

	if _, err := env.Engine.Rotate(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "p/a")}); err != nil {
		t.Fatal(err)
	}
	rotated := clock.now().UTC()
	check("p", env.Admin, overdue("p/b", 1, 31, begin, 2))
	clock.advance(31 * day)
	check("p/", env.Admin, overdue("p/a", 2, 30, rotated, 1), overdue("p/b", 1, 31, begin, 33))
}

func TestExpiredRulesEndByTheEnginesClock(t *testing.T) {
	clock := newHands()
	env := vaulttest.StartWith(t, vaulttest.Config{Clock: clock.now})
	env.Put(t, "a/b", "v")
	pattern, err := policy.ParsePattern("**")
	if err != nil {
		t.Fatal(err)
	}
	visitor := vaulttest.ServiceAccount("team", "visitor", "")
	set, err := policy.New("visit", []policy.Rule{{
		Effect: policy.Allow, Paths: []policy.Pattern{pattern}, Capabilities: []policy.Capability{policy.Read},
		Subjects:  policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "team", Name: "visitor"}}},
		ExpiresAt: clock.now().Add(time.Hour),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Engine.ReplacePolicies(t.Context(), "default", []policy.Policy{set}); err != nil {
		t.Fatal(err)
	}
	wantRead(t, env.Engine, visitor, ref(t, "a/b", 0), "v")
	clock.advance(time.Hour)
	_, err = read(t, env.Engine, visitor, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
}
