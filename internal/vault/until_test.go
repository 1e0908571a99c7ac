package vault_test

import (
	"errors"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestResolveSaysUntil: an answer comes with the moment to which it stays by itself,
// a refusal too, and what lies below a prefix counts whether it may be read now or not.
func TestResolveSaysUntil(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	reader := vaulttest.ServiceAccount("team", "api", "production")
	soon, later := time.Now().Add(time.Hour).UTC(), time.Now().Add(2*time.Hour).UTC()
	rule := func(effect policy.Effect, pattern string, ends time.Time) policy.Rule {
		p, err := policy.ParsePattern(pattern)
		must(t, err)
		return policy.Rule{
			Effect: effect, Paths: []policy.Pattern{p}, Capabilities: []policy.Capability{policy.Read}, ExpiresAt: ends,
			Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "team", Name: "api"}}},
		}
	}
	env.AllowRules(t, reader.Cluster,
		rule(policy.Allow, "kept/**", time.Time{}),
		rule(policy.Allow, "granted/**", later), rule(policy.Allow, "granted/short", soon),
		rule(policy.Allow, "lent/*", soon),
		rule(policy.Allow, "barred/**", time.Time{}), rule(policy.Deny, "barred/*", soon),
	)
	for _, path := range []string{"kept/a", "granted/a", "granted/short", "lent/a", "barred/a", "barred/below/a"} {
		env.Put(t, path, "v")
	}
	refs := func(paths ...string) (list []secret.Ref) {
		for _, path := range paths {
			list = append(list, ref(t, path, 0))
		}
		return list
	}
	for name, tc := range map[string]struct {
		refs   []secret.Ref
		below  []string
		denied bool
		want   time.Time
	}{
		"a grant without an end":              {refs: refs("kept/a")},
		"a grant with an end":                 {refs: refs("granted/a"), want: later},
		"a shorter one beside it":             {refs: refs("granted/short"), want: later},
		"the first of several":                {refs: refs("kept/a", "granted/a", "lent/a"), want: soon},
		"a denial with an end":                {refs: refs("barred/a"), denied: true, want: soon},
		"nothing allows it":                   {refs: refs("other/a"), denied: true},
		"below a prefix, what will go":        {below: []string{"lent/"}, want: soon},
		"below a prefix, what will come":      {refs: refs("kept/a"), below: []string{"barred/"}, want: soon},
		"a prefix below which nothing is yet": {below: []string{"other/"}, denied: true},
	} {
		t.Run(name, func(t *testing.T) {
			var prefixes []secret.Prefix
			for _, below := range tc.below {
				prefixes = append(prefixes, prefix(t, below))
			}
			found, err := env.Engine.Resolve(t.Context(), reader, tc.refs, prefixes, 10)
			if tc.denied != errors.Is(err, secret.ErrDenied) || !tc.denied && err != nil {
				t.Fatalf("error %v", err)
			}
			if !found.Until.Equal(tc.want) {
				t.Errorf("stays until %v, want %v", found.Until, tc.want)
			}
		})
	}
}
