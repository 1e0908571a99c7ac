package vault_test

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestRightsCountAtOnceWithWarmCaches takes rights away and gives them back, by a
// VaultPolicy and by the access policy on the secret. Two replicas have the box in
// memory and in Redis, and nowhere else, so what they serve they serve from there:
// the next read on each is decided by what was changed on the other.
func TestRightsCountAtOnceWithWarmCaches(t *testing.T) {
	api := vaulttest.ServiceAccount("payments", "api", "production")
	for name, test := range map[string]struct {
		rule  policy.Effect // of a policy for api, in force while the right is as given
		given bool
		share bool // by the access policy instead
	}{
		"VaultPolicy allows":          {rule: policy.Allow, given: true},
		"VaultPolicy denies":          {rule: policy.Deny, given: false},
		"access policy on the secret": {share: true},
	} {
		t.Run(name, func(t *testing.T) {
			env := vaulttest.StartWith(t, vaulttest.Config{CacheBytes: 1 << 20})
			replicas := []*vault.Engine{env.Engine, env.Open(t)}
			shared := &secret.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"}}
			set := func(by *vault.Engine, may bool) {
				t.Helper()
				if test.share {
					access := &secret.AccessPolicy{}
					if may {
						access = shared
					}
					_, err := by.Update(t.Context(), env.Admin, secret.UpdateRequest{Path: vaulttest.Path(t, "a/b"), Access: access})
					must(t, err)
					return
				}
				var policies []policy.Policy
				if may == test.given {
					policies = append(policies, policyOf(t, test.rule, api))
				}
				_, err := by.ReplacePolicies(t.Context(), api.Cluster, policies)
				must(t, err)
			}
			env.Sync(t, api.Cluster)
			env.PutShared(t, "a/b", "v", shared)
			if test.rule == policy.Allow {
				env.PutShared(t, "a/b", "v", &secret.AccessPolicy{})
			}
			set(env.Engine, true)
			for _, replica := range replicas {
				wantRead(t, replica, api, ref(t, "a/b", 0), "v")
			}
			exec(t, env, `UPDATE secret_versions SET box = '\x00'`)
			for round := range 3 {
				for i, replica := range replicas {
					other := replicas[1-i]
					set(replica, false)
					for _, reader := range []*vault.Engine{other, replica} {
						_, err := read(t, reader, api, ref(t, "a/b", 0))
						wantError(t, err, secret.ErrDenied)
					}
					set(replica, true)
					for _, reader := range []*vault.Engine{other, replica} {
						wantRead(t, reader, api, ref(t, "a/b", 0), "v")
					}
				}
				if t.Failed() {
					t.Fatalf("in round %d", round+1)
				}
			}
		})
	}
}

// policyOf is a policy of one rule, about reading everything.
func policyOf(t *testing.T, effect policy.Effect, c secret.Caller) policy.Policy {
	t.Helper()
	all, err := policy.ParsePattern("**")
	must(t, err)
	p, err := policy.New("one", []policy.Rule{{
		Effect: effect, Paths: []policy.Pattern{all}, Capabilities: []policy.Capability{policy.Read},
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: c.Namespace, Name: c.Name}}},
	}})
	must(t, err)
	return p
}
