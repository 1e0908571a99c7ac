package policy_test

import (
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// TestUntil: a decision stays until the first end of a rule that makes it another, and
// not until that of a rule which decides nothing.
func TestUntil(t *testing.T) {
	const allow, deny = policy.Allow, policy.Deny
	type ends struct {
		effect policy.Effect
		after  int // of seconds; 0 is never
	}
	for name, tc := range map[string]struct {
		rules  []ends
		shared bool // by the access policy on the secret
		want   int
	}{
		"nothing":                           {},
		"without an end":                    {rules: []ends{{allow, 0}}},
		"allowed for a time":                {rules: []ends{{allow, 5}}, want: 5},
		"allowed by another for longer":     {rules: []ends{{allow, 5}, {allow, 9}, {allow, 7}}, want: 9},
		"allowed by another for ever":       {rules: []ends{{allow, 5}, {allow, 0}}},
		"allowed by the secret for ever":    {rules: []ends{{allow, 5}}, shared: true},
		"denied for a time":                 {rules: []ends{{deny, 5}, {allow, 0}}, want: 5},
		"denied by another for longer":      {rules: []ends{{deny, 5}, {deny, 9}, {allow, 0}}, want: 9},
		"denied by another for ever":        {rules: []ends{{deny, 5}, {deny, 0}, {allow, 0}}},
		"denied for longer than allowed":    {rules: []ends{{deny, 9}, {allow, 5}}},
		"denied for as long as allowed":     {rules: []ends{{deny, 5}, {allow, 5}}},
		"denied for less than allowed":      {rules: []ends{{deny, 5}, {allow, 9}}, want: 5},
		"denied, and then nothing allows":   {rules: []ends{{deny, 5}}},
		"denied, and then the secret shows": {rules: []ends{{deny, 5}}, shared: true, want: 5},
		"what ended before":                 {rules: []ends{{allow, -5}, {deny, -9}}},
	} {
		t.Run(name, func(t *testing.T) {
			var list []policy.Rule
			for _, r := range tc.rules {
				one := rule(t, r.effect, "**", accounts("payments", "api"))
				if r.after != 0 {
					one.ExpiresAt = now.Add(time.Duration(r.after) * time.Second)
				}
				list = append(list, one)
			}
			var shared *secret.AccessPolicy
			if tc.shared {
				shared = access([]string{"payments/api"}, []string{"*"})
			}
			want := time.Time{}
			if tc.want != 0 {
				want = now.Add(time.Duration(tc.want) * time.Second)
			}
			if got := policy.Decide(list, shared, api, parsePath(t, "a"), policy.Read, now).Until; !got.Equal(want) {
				t.Errorf("stays until %v, want %v", got, want)
			}
		})
	}
	// A rule that is about somebody else does not count.
	other := rule(t, policy.Allow, "**", account(former))
	other.ExpiresAt = now.Add(time.Second)
	if got := policy.Decide([]policy.Rule{other}, nil, renewed, parsePath(t, "a"), policy.Read, now).Until; !got.IsZero() {
		t.Errorf("stays until %v, the end of a rule about another account", got)
	}
}
