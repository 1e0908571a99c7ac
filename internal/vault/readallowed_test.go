package vault_test

import (
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestReadAllowed: a decision of Resolve's opens the version that it was about, and is
// audited as a read of it; one that is no more about the question counts for nothing.
func TestReadAllowed(t *testing.T) {
	clock := &setClock{now: time.Now().UTC().Truncate(time.Second)}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	reader, other := vaulttest.ServiceAccount("team", "api", "production"), vaulttest.ServiceAccount("team", "web", "production")
	env.Allow(t, reader, "**", policy.Read)
	env.Put(t, "a/b", "one")
	asked := ref(t, "a/b", 0)
	// In this order: each goes on with the vault that the one before it left.
	for _, tc := range []struct {
		name      string
		caller    secret.Caller
		asked     secret.Ref
		meanwhile func(t *testing.T)
		want      string
		version   int64
		err       error
	}{
		{name: "at once", caller: reader, asked: asked, want: "one", version: 1},
		{name: "a version came meanwhile", caller: reader, asked: asked, want: "one", version: 1, meanwhile: func(t *testing.T) { env.Put(t, "a/b", "two") }},
		{name: "it is old", caller: reader, asked: asked, want: "three", version: 3, meanwhile: func(t *testing.T) {
			env.Put(t, "a/b", "three")
			clock.Set(clock.Now().Add(3 * time.Second))
		}},
		{name: "it was about somebody else", caller: other, asked: asked, err: secret.ErrDenied},
		{name: "it was about another version", caller: reader, asked: ref(t, "a/b", 1), want: "one", version: 1},
		{name: "the version was destroyed meanwhile", caller: reader, asked: asked, want: "four", version: 4, meanwhile: func(t *testing.T) {
			env.Put(t, "a/b", "four")
			must(t, env.Engine.DestroyVersions(t.Context(), env.Admin, asked.Path, 3))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found, err := env.Engine.Resolve(t.Context(), reader, []secret.Ref{asked}, nil, 0)
			must(t, err)
			if tc.meanwhile != nil {
				tc.meanwhile(t)
			}
			got, err := env.Engine.ReadAllowed(t.Context(), tc.caller, tc.asked, found.Allowed[0])
			if tc.err != nil {
				wantError(t, err, tc.err)
			} else if must(t, err); string(got.Value.Bytes()) != tc.want || got.Version != tc.version {
				t.Errorf("version %d with another value, want version %d", got.Version, tc.version)
			}
			row := lastAudit(t, env)
			if row.Action != audit.Read || row.Caller != tc.caller.String() || row.Version != tc.version || (row.Decision == audit.Allowed) != (tc.err == nil) {
				t.Errorf("the audit row is %+v", row)
			}
		})
	}
}

// TestReadAllowedEndsWithTheRight: a decision that stops by itself does not last longer.
func TestReadAllowedEndsWithTheRight(t *testing.T) {
	clock := &setClock{now: time.Now().UTC().Truncate(time.Second)}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	reader := vaulttest.ServiceAccount("team", "api", "production")
	pattern, err := policy.ParsePattern("**")
	must(t, err)
	env.AllowRules(t, reader.Cluster, policy.Rule{
		Effect: policy.Allow, Paths: []policy.Pattern{pattern}, Capabilities: []policy.Capability{policy.Read}, ExpiresAt: clock.Now().Add(time.Hour),
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "team", Name: "api"}}},
	})
	env.Put(t, "a/b", "one")
	clock.Set(clock.Now().Add(time.Hour - time.Second))
	asked := ref(t, "a/b", 0)
	found, err := env.Engine.Resolve(t.Context(), reader, []secret.Ref{asked}, nil, 0)
	must(t, err)
	clock.Set(clock.Now().Add(time.Second))
	_, err = env.Engine.ReadAllowed(t.Context(), reader, asked, found.Allowed[0])
	wantError(t, err, secret.ErrDenied)
}

// TestReadAllowedAsksNothingAgain: what decided is not read a second time.
func TestReadAllowedAsksNothingAgain(t *testing.T) {
	clock := &setClock{now: time.Now().UTC()}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	reader := vaulttest.ServiceAccount("team", "api", "production")
	env.Allow(t, reader, "**", policy.Read)
	env.Put(t, "a/b", "one")
	asked := ref(t, "a/b", 0)
	found, err := env.Engine.Resolve(t.Context(), reader, []secret.Ref{asked}, nil, 0)
	must(t, err)
	exec(t, env, `UPDATE secrets SET path = 'moved/away'`)
	got, err := env.Engine.ReadAllowed(t.Context(), reader, asked, found.Allowed[0])
	must(t, err)
	if string(got.Value.Bytes()) != "one" {
		t.Error("it has another value")
	}
}
