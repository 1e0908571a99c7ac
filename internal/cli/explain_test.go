package cli

import (
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/policy"
)

// explainedRules are what testdata/script/explain.txtar asks about.
func explainedRules(t *testing.T) []policy.Rule {
	t.Helper()
	pattern := func(s string) []policy.Pattern {
		p, err := policy.ParsePattern(s)
		must(t, err)
		return []policy.Pattern{p}
	}
	payments := policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "payments", Name: "*"}}}
	read := []policy.Capability{policy.Read}
	return []policy.Rule{
		{Effect: policy.Allow, Paths: pattern("explained/**"), Capabilities: read, Subjects: payments, Environments: []string{"production"}},
		{Effect: policy.Deny, Paths: pattern("**/cards"), Capabilities: read, Subjects: payments},
		{
			Effect: policy.Allow, Paths: pattern("explained/*"), Capabilities: read, Subjects: policy.Subjects{Groups: []string{"sre"}},
			ExpiresAt: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		},
		{
			Effect: policy.Allow, Paths: pattern("sys/keyring"), Capabilities: []policy.Capability{policy.Rotate},
			Subjects: policy.Subjects{Users: []string{"alice"}},
		},
		{Effect: policy.Allow, Paths: pattern("explained/database"), Capabilities: read, Subjects: policy.Subjects{Groups: []string{"dba"}}},
		{
			Effect: policy.Allow, Paths: pattern("explained/meant"), Capabilities: read, ExpiresAt: time.Date(2126, 1, 31, 12, 0, 0, 0, time.UTC),
			Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "batch", Name: "api", UID: "0ed1"}}},
		},
	}
}
