package vault_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func prefix(t testing.TB, s string) secret.Prefix {
	t.Helper()
	p, err := secret.ParsePrefix(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// told is what Resolve found, as "path version".
func told(found []secret.Metadata) []string {
	lines := make([]string, len(found))
	for i, m := range found {
		lines[i] = fmt.Sprint(m.Path, " ", m.Version)
	}
	return lines
}

// TestResolveFindsWhatMayBeRead: below a prefix are the paths that the caller may
// read and no others, beside the references, and an allowed call is not audited.
func TestResolveFindsWhatMayBeRead(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	reader := vaulttest.ServiceAccount("team", "api", "production")
	env.Allow(t, reader, "a/*", policy.Read)
	env.Allow(t, reader, "a/hidden/*", policy.List)
	for _, path := range []string{"a/b", "a/c", "a/c", "a/gone", "a/hidden/x", "a", "a-b/x", "a0/x", "b/a"} {
		env.Put(t, path, "v")
	}
	env.PutShared(t, "a/hidden/shared", "v", &secret.AccessPolicy{AllowedServices: []string{"team/api"}, AllowedEnvironments: []string{"production"}})
	if err := env.Engine.Delete(t.Context(), env.Admin, vaulttest.Path(t, "a/gone")); err != nil {
		t.Fatal(err)
	}
	before := len(auditRows(t, env, ""))

	found, err := env.Engine.Resolve(t.Context(), reader, []secret.Ref{ref(t, "a/c", 1)},
		[]secret.Prefix{prefix(t, "a/"), prefix(t, "a/hidden/"), prefix(t, "a/")}, 10)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"a/b 1", "a/c 2", "a/hidden/shared 1"}
	got := [][]string{told(found.Named), told(found.Below[0]), told(found.Below[1]), told(found.Below[2])}
	if diff := cmp.Diff([][]string{{"a/c 1"}, all, {"a/hidden/shared 1"}, all}, got); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if found, err := env.Engine.Resolve(t.Context(), reader, nil, []secret.Prefix{prefix(t, "a/")}, 2); err != nil || len(found.Below[0]) != 2 {
		t.Errorf("of at most 2: %v, %v", found, err)
	}
	if found, err := env.Engine.Resolve(t.Context(), reader, []secret.Ref{ref(t, "a/b", 0)}, nil, 2); err != nil || len(found.Named) != 1 || found.Below != nil {
		t.Errorf("without a prefix: %v, %v", found, err)
	}
	if after := len(auditRows(t, env, "")); after != before {
		t.Errorf("allowed calls wrote %d audit rows", after-before)
	}

	_, err = env.Engine.Resolve(t.Context(), reader, []secret.Ref{ref(t, "b/a", 0)}, []secret.Prefix{prefix(t, "a/")}, 10)
	wantError(t, err, secret.ErrDenied)
	_, err = env.Engine.Resolve(t.Context(), reader, []secret.Ref{ref(t, "a/b", 7)}, []secret.Prefix{prefix(t, "a/")}, 10)
	wantError(t, err, secret.ErrVersionNotFound)
	_, err = env.Engine.Resolve(t.Context(), reader, nil, []secret.Prefix{{}}, 10)
	wantError(t, err, secret.ErrInvalid)
}

// TestEmptyPrefixEqualsDenied: neither the error nor the audit row tells a prefix
// below which nothing may be read from one below which nothing is, or what is there
// is broken.
func TestEmptyPrefixEqualsDenied(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Sync(t, "default")
	env.Put(t, "p/hidden/one", "v")
	env.Put(t, "p/broken/one", "v")
	exec(t, env, `UPDATE secrets SET description = 'edited' WHERE path = 'p/broken/one'`)
	stranger := vaulttest.ServiceAccount("other", "api", "production")
	answer := func(below string) (string, audit.Entry) {
		_, err := env.Engine.Resolve(t.Context(), stranger, nil, []secret.Prefix{prefix(t, below)}, 10)
		wantError(t, err, secret.ErrDenied)
		return strings.ReplaceAll(err.Error(), below, "PREFIX"), lastAudit(t, env)
	}
	deniedError, deniedRow := answer("p/hidden/")
	if deniedRow.Path != "p/hidden/" || deniedRow.Decision != audit.Denied || deniedRow.Action != audit.Check {
		t.Errorf("audit row: %+v", deniedRow)
	}
	for _, other := range []string{"p/nothing/", "p/broken/"} {
		otherError, otherRow := answer(other)
		if deniedError != otherError {
			t.Errorf("the errors differ: %q, %q", deniedError, otherError)
		}
		if diff := cmp.Diff(deniedRow, otherRow, cmpopts.IgnoreFields(audit.Entry{}, "ID", "At", "Path")); diff != "" {
			t.Errorf("the audit rows differ (-denied +other):\n%s", diff)
		}
	}
	unknown := stranger
	unknown.Cluster = "never-synced"
	_, err := env.Engine.Resolve(t.Context(), unknown, nil, []secret.Prefix{prefix(t, "p/nothing/")}, 10)
	wantError(t, err, secret.ErrUnavailable)
	_, err = env.Engine.Resolve(t.Context(), env.Admin, nil, []secret.Prefix{prefix(t, "p/broken/")}, 10)
	wantError(t, err, secret.ErrTampered)
}

// TestResolveGoesBeyondOnePage: what may be read is found behind more paths than are
// read at a time.
func TestResolveGoesBeyondOnePage(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	reader := vaulttest.ServiceAccount("team", "api", "production")
	env.Allow(t, reader, "p/zz", policy.Read)
	env.Put(t, "p/first", "v")
	exec(t, env, `INSERT INTO secrets (id, path, current_version, first_version, last_version, revision, description, tags, rotate_after_days,
			allowed_services, allowed_environments, mac)
		SELECT gen_random_uuid(), 'p/x' || n, current_version, first_version, last_version, revision, description, tags, rotate_after_days,
			allowed_services, allowed_environments, mac FROM secrets, generate_series(1, 1200) n`)
	env.Put(t, "p/zz", "v")
	found, err := env.Engine.Resolve(t.Context(), reader, nil, []secret.Prefix{prefix(t, "p/")}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"p/zz 1"}, told(found.Below[0])); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}

// TestResolveEqualsCheck: a path lies in the answer exactly if it is below the prefix
// and a check of it alone is allowed.
func TestResolveEqualsCheck(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	paths := []string{"a", "a/a", "a/a/b", "a/b", "a/b/a", "a-b/a", "b", "b/a", "b/a/a", "a.b/b", "a0/a"}
	for _, path := range paths {
		env.Put(t, path, "v")
	}
	cluster := 0
	rapid.Check(t, func(rt *rapid.T) {
		cluster++
		caller := vaulttest.ServiceAccount("team", "api", "production")
		caller.Cluster = fmt.Sprint("c", cluster)
		segment := rapid.SampledFrom([]string{"a", "b", "*", "**"})
		for range rapid.IntRange(1, 3).Draw(rt, "rules") {
			pattern := strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(rt, "pattern"), "/")
			if _, err := policy.ParsePattern(pattern); err == nil {
				env.Allow(t, caller, pattern, policy.Read)
			}
		}
		env.Sync(t, caller.Cluster)
		below := prefix(t, rapid.SampledFrom([]string{"a/", "b/", "a/b/", "a-b/", "c/"}).Draw(rt, "prefix"))
		var want []string
		for _, path := range paths {
			found, err := env.Engine.Check(t.Context(), caller, []secret.Ref{ref(t, path, 0)})
			if err == nil && below.Contains(vaulttest.Path(t, path)) {
				want = append(want, told(found)...)
			}
		}
		slices.Sort(want)
		found, err := env.Engine.Resolve(t.Context(), caller, nil, []secret.Prefix{below}, 100)
		if len(want) == 0 {
			wantError(t, err, secret.ErrDenied)
			return
		}
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, told(found.Below[0])); diff != "" {
			rt.Fatalf("found (-want +got):\n%s", diff)
		}
	})
}
