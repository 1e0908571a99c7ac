package policy_test

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// TestNamesake: what a rule gives to one account is nothing to the next one of its
// name, whoever asks about the rules.
func TestNamesake(t *testing.T) {
	list := rules(t, "p", rule(t, policy.Allow, "**", account(former)))
	for name, tc := range map[string]struct {
		caller secret.Caller
		means  bool
	}{
		"the account":                     {former, true},
		"another of its name":             {renewed, false},
		"one of its name without a UID":   {api, false},
		"one of another name and its UID": {secret.Caller{Kind: secret.KindServiceAccount, Namespace: "payments", Name: "worker", UID: former.UID}, false},
		"a user of its UID":               {secret.Caller{Kind: secret.KindUser, Name: "api", UID: former.UID}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := policy.Decide(list, nil, tc.caller, parsePath(t, "a"), policy.Read, now).Allowed; got != tc.means {
				t.Errorf("allowed %v", got)
			}
			if got := policy.AllowedSomewhere(list, tc.caller, policy.Read, now); got != tc.means {
				t.Errorf("allowed somewhere %v", got)
			}
			if got := len(policy.About(list, tc.caller)) == 1; got != tc.means {
				t.Errorf("about the caller %v", got)
			}
		})
	}
	denial := rules(t, "p", rule(t, policy.Deny, "**", account(former)), rule(t, policy.Allow, "**", accounts("payments", "*")))
	if policy.Decide(denial, nil, former, parsePath(t, "a"), policy.Read, now).Allowed {
		t.Error("the account is allowed what is denied to it")
	}
	if !policy.Decide(denial, nil, renewed, parsePath(t, "a"), policy.Read, now).Allowed {
		t.Error("what is denied to the account is denied to another of its name")
	}
}
