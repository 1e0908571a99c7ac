package vault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// policyFor is a policy that allows caller some capabilities on a pattern.
func policyFor(t testing.TB, name string, caller secret.Caller, pattern string, capabilities ...policy.Capability) policy.Policy {
	t.Helper()
	paths, err := policy.ParsePattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New(name, []policy.Rule{{
		Effect: policy.Allow, Paths: []policy.Pattern{paths}, Capabilities: capabilities, Environments: []string{"*"},
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: caller.Namespace, Name: caller.Name, UID: caller.UID}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPoliciesInForce: who may audit sys/policies sees what decides in their cluster, each look is audited, and it is
// what was verified and not what somebody made of the rows.
func TestPoliciesInForce(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: func() time.Time { return now }})
	ctx, auditor := t.Context(), vaulttest.ServiceAccount("auditors", "api", "production")
	set := []policy.Policy{policyFor(t, "auditors", auditor, "sys/policies", policy.Audit), policyFor(t, "zoo", auditor, "zoo/**", policy.Read, policy.List)}
	if _, err := env.Engine.ReplacePolicies(ctx, "default", []policy.Policy{set[1], set[0]}); err != nil {
		t.Fatal(err)
	}
	want := vault.PoliciesInForce{Cluster: "default", Revision: now.Unix() + 1, Since: now.UTC(), Policies: set}
	same := cmpopts.EquateComparable(policy.Pattern{})
	for name, edit := range map[string]string{"as synced": `SELECT`, "rules edited in place": `UPDATE policies SET rules = '[]' WHERE cluster = 'default'`} {
		exec(t, env, edit)
		got, err := env.Engine.Policies(ctx, auditor)
		if diff := cmp.Diff(want, got, same); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", name, err, diff)
		}
		if row := lastAudit(t, env); row.Action != audit.PolicyList || row.Decision != audit.Allowed || row.Path != "sys/policies" || row.Version != want.Revision || row.Rule != "VaultPolicy auditors rule 1" {
			t.Errorf("%s: audit row %+v", name, row)
		}
	}
	got, err := env.Engine.ShowPolicy(ctx, auditor, "zoo")
	want.Policies = set[1:]
	if diff := cmp.Diff(want, got, same); err != nil || diff != "" {
		t.Errorf("show: %v (-want +got)\n%s", err, diff)
	}
	if row := lastAudit(t, env); row.Action != audit.PolicyShow || row.Decision != audit.Allowed || row.Version != want.Revision {
		t.Errorf("audit row %+v", row)
	}
	_, err = env.Open(t).Policies(ctx, auditor) // which has verified none, and finds rows that somebody edited
	wantError(t, err, secret.ErrTampered)
	if row := lastAudit(t, env); row.Action != audit.PolicyList || row.Decision != audit.Failed {
		t.Errorf("audit row %+v", row)
	}
}

// TestPoliciesAreShownToAuditorsOfThem: all rights on secrets are none on the policies, and a policy that is not there
// looks as one that is denied.
func TestPoliciesAreShownToAuditorsOfThem(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	ctx, operator := t.Context(), vaulttest.ServiceAccount("operations", "api", "production")
	reader := vaulttest.ServiceAccount("readers", "api", "production")
	auditor := vaulttest.ServiceAccount("auditors", "api", "production")
	env.AllowAll(t, operator, "**")
	env.Allow(t, reader, "sys/policies", policy.Read, policy.List)
	env.Allow(t, auditor, "sys/**", policy.Audit)
	elsewhere := auditor
	elsewhere.Cluster = "elsewhere"
	env.Sync(t, elsewhere.Cluster)
	show := func(caller secret.Caller, name string) string {
		t.Helper()
		_, err := env.Engine.ShowPolicy(ctx, caller, name)
		wantError(t, err, secret.ErrDenied)
		row := lastAudit(t, env)
		if row.Action != audit.PolicyShow || row.Decision != audit.Denied {
			t.Errorf("audit row %+v", row)
		}
		return err.Error()
	}
	missing := show(auditor, "none")
	for _, caller := range []secret.Caller{operator, reader, elsewhere} {
		_, err := env.Engine.Policies(ctx, caller)
		wantError(t, err, secret.ErrDenied)
		if denied := show(caller, "vaulttest"); denied != missing || strings.Contains(denied, "none") {
			t.Errorf("denied %q, missing %q", denied, missing)
		}
	}
	elsewhere.Cluster = "never-synced"
	_, err := env.Engine.Policies(ctx, elsewhere)
	wantError(t, err, secret.ErrUnavailable)
	if row := lastAudit(t, env); row.Decision != audit.Failed {
		t.Errorf("audit row %+v", row)
	}
}
