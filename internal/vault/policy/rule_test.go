package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

var samePatterns = cmpopts.EquateComparable(policy.Pattern{})

func TestNewNamesAndNumbersRules(t *testing.T) {
	given := []policy.Rule{
		rule(t, policy.Allow, "a", users("x")),
		{
			Policy: "claimed", Index: 9, Effect: policy.Deny, Paths: []policy.Pattern{parsePattern(t, "**")},
			Capabilities: policy.Capabilities(), Subjects: groups("x"),
		},
	}
	p, err := policy.New("admins", given)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range p.Rules {
		names = append(names, r.Name())
	}
	if diff := cmp.Diff([]string{"VaultPolicy admins rule 1", "VaultPolicy admins rule 2"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if given[1].Policy != "claimed" {
		t.Error("New changed the rules that it was given")
	}
}

func TestNewRefusals(t *testing.T) {
	valid := rule(t, policy.Deny, "a", accounts("payments", "api"), "production")
	for name, tc := range map[string]struct {
		change func(*policy.Rule)
		want   string
	}{
		"no effect":                 {func(r *policy.Rule) { r.Effect = "" }, "Allow or Deny"},
		"an effect in lower case":   {func(r *policy.Rule) { r.Effect = "deny" }, "Allow or Deny"},
		"no paths":                  {func(r *policy.Rule) { r.Paths = nil }, "no paths"},
		"an empty path":             {func(r *policy.Rule) { r.Paths = append(r.Paths, policy.Pattern{}) }, "empty path"},
		"no capabilities":           {func(r *policy.Rule) { r.Capabilities = nil }, "no capabilities"},
		"an unknown capability":     {func(r *policy.Rule) { r.Capabilities = []policy.Capability{"raed"} }, `"raed"`},
		"no subjects":               {func(r *policy.Rule) { r.Subjects = policy.Subjects{} }, "no subjects"},
		"an account, no namespace":  {func(r *policy.Rule) { r.Subjects = accounts("", "api") }, "without namespace"},
		"an account without a name": {func(r *policy.Rule) { r.Subjects = accounts("payments", "") }, "without namespace or name"},
		"a uid of many accounts":    {func(r *policy.Rule) { r.Subjects = account(secret.Caller{Namespace: "payments", Name: "*", UID: "1"}) }, "write its namespace and name"},
		"an empty user":             {func(r *policy.Rule) { r.Subjects = users("") }, "without a name"},
		"an empty group":            {func(r *policy.Rule) { r.Subjects = groups("x", "") }, "without a name"},
		"an empty environment":      {func(r *policy.Rule) { r.Environments = []string{""} }, "environment without a name"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := valid
			tc.change(&changed)
			_, err := policy.New("p", []policy.Rule{valid, changed})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "rule 2: ") {
				t.Errorf("error %v, want one about rule 2 that says %q", err, tc.want)
			}
		})
	}
}

// TestRuleJSON is the form in which Postgres holds a rule. A change that breaks it
// makes stored policies unreadable for one of two versions of Coffer.
func TestRuleJSON(t *testing.T) {
	r := rule(t, policy.Deny, "production/*/**", policy.Subjects{
		ServiceAccounts: []policy.ServiceAccount{{Namespace: "payments", Name: "*"}, {Namespace: "payments", Name: "api", UID: "0ed1"}}, Users: []string{"alice"}, Groups: []string{"platform"},
	}, "production")
	r.Policy, r.Index, r.ExpiresAt = "admins", 2, time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"policy":"admins","index":2,"effect":"Deny","paths":["production/*/**"],"capabilities":["read","list"],` +
		`"subjects":{"serviceAccounts":[{"namespace":"payments","name":"*"},{"namespace":"payments","name":"api","uid":"0ed1"}],"users":["alice"],"groups":["platform"]},` +
		`"environments":["production"],"expiresAt":"2027-01-02T03:04:05Z"}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestRulesSurviveJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRule(t)
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back policy.Rule
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, back, samePatterns, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("rule (-before +after):\n%s", diff)
		}
	})
}

func TestParseCapability(t *testing.T) {
	for _, c := range policy.Capabilities() {
		if got, err := policy.ParseCapability(string(c)); err != nil || got != c {
			t.Errorf("ParseCapability(%q) = %q, error %v", c, got, err)
		}
	}
	for _, s := range []string{"", "Read", "*", "read "} {
		if _, err := policy.ParseCapability(s); err == nil {
			t.Errorf("%q is a capability", s)
		}
	}
}
