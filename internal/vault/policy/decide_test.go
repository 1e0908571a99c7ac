package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

var (
	api     = secret.Caller{Kind: secret.KindServiceAccount, Namespace: "payments", Name: "api", Environment: "production"}
	former  = secret.Caller{Kind: secret.KindServiceAccount, Namespace: "payments", Name: "api", UID: "1", Environment: "production"}
	renewed = secret.Caller{Kind: secret.KindServiceAccount, Namespace: "payments", Name: "api", UID: "2", Environment: "production"}
	stage   = secret.Caller{Kind: secret.KindServiceAccount, Namespace: "payments", Name: "api", Environment: "staging"}
	nowhere = secret.Caller{Kind: secret.KindServiceAccount, Namespace: "payments", Name: "api"}
	worker  = secret.Caller{Kind: secret.KindServiceAccount, Namespace: "payments", Name: "worker", Environment: "production"}
	intrude = secret.Caller{Kind: secret.KindServiceAccount, Namespace: "orders", Name: "api", Environment: "production"}
	alice   = secret.Caller{Kind: secret.KindUser, Name: "alice", Groups: []string{"platform"}}
	system  = secret.Caller{Kind: secret.KindSystem, Name: "api", Namespace: "payments", Groups: []string{"platform"}}
)

func rules(t tester, name string, list ...policy.Rule) []policy.Rule {
	t.Helper()
	p, err := policy.New(name, list)
	if err != nil {
		t.Fatal(err)
	}
	return p.Rules
}

// rule makes a rule about reading and listing.
func rule(t tester, effect policy.Effect, path string, subjects policy.Subjects, environments ...string) policy.Rule {
	return policy.Rule{
		Effect: effect, Paths: []policy.Pattern{parsePattern(t, path)},
		Capabilities: []policy.Capability{policy.Read, policy.List}, Subjects: subjects, Environments: environments,
	}
}

func accounts(namespace, name string) policy.Subjects {
	return policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: namespace, Name: name}}}
}

// account is the one of c's namespace, name and UID.
func account(c secret.Caller) policy.Subjects {
	return policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: c.Namespace, Name: c.Name, UID: c.UID}}}
}

func users(names ...string) policy.Subjects  { return policy.Subjects{Users: names} }
func groups(names ...string) policy.Subjects { return policy.Subjects{Groups: names} }

func access(services, environments []string) *secret.AccessPolicy {
	return &secret.AccessPolicy{AllowedServices: services, AllowedEnvironments: environments}
}

func TestSubjects(t *testing.T) {
	all := []secret.Caller{api, worker, intrude, alice, system, former}
	for name, tc := range map[string]struct {
		subjects policy.Subjects
		want     []secret.Caller
	}{
		"one account":                 {accounts("payments", "api"), []secret.Caller{api, former}},
		"accounts of a namespace":     {accounts("payments", "*"), []secret.Caller{api, worker, former}},
		"accounts of a name":          {accounts("*", "api"), []secret.Caller{api, intrude, former}},
		"all accounts":                {accounts("*", "*"), []secret.Caller{api, worker, intrude, former}},
		"a user":                      {users("alice"), []secret.Caller{alice}},
		"a star is no user":           {users("*"), nil},
		"an account as a user":        {users("system:serviceaccount:payments:api"), []secret.Caller{api, former}},
		"a group":                     {groups("platform"), []secret.Caller{alice}},
		"a star is no group":          {groups("*"), nil},
		"the group of accounts":       {groups("system:serviceaccounts"), []secret.Caller{api, worker, intrude, former}},
		"the group of a namespace":    {groups("system:serviceaccounts:payments"), []secret.Caller{api, worker, former}},
		"everybody the server knows":  {groups("system:authenticated"), []secret.Caller{api, worker, intrude, former}},
		"one of several":              {policy.Subjects{Users: []string{"bob", "alice"}, Groups: []string{"x"}}, []secret.Caller{alice}},
		"an account by its UID":       {account(former), []secret.Caller{former}},
		"by its UID, or by its group": {policy.Subjects{ServiceAccounts: account(former).ServiceAccounts, Groups: []string{"system:serviceaccounts:orders"}}, []secret.Caller{intrude, former}},
		"a user named like an object": {users("payments/api"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			list := rules(t, "p", rule(t, policy.Allow, "**", tc.subjects))
			var got []secret.Caller
			for _, caller := range all {
				if policy.Decide(list, nil, caller, parsePath(t, "a"), policy.Read, now).Allowed {
					got = append(got, caller)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("allowed callers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGroupsOfAccountsComeFromTheirNamespace: a token's review brings groups, an
// object does not, and neither makes a difference.
func TestGroupsOfAccountsComeFromTheirNamespace(t *testing.T) {
	list := rules(t, "p", rule(t, policy.Allow, "**", groups("platform", "system:serviceaccounts:orders")))
	claims := api
	claims.Groups = []string{"platform", "system:serviceaccounts:orders"}
	if policy.Decide(list, nil, claims, parsePath(t, "a"), policy.Read, now).Allowed {
		t.Error("a service account was believed its groups")
	}
	nameless := secret.Caller{Kind: secret.KindServiceAccount}
	if policy.Decide(rules(t, "p", rule(t, policy.Allow, "**", accounts("*", "*"))), nil, nameless, parsePath(t, "a"), policy.Read, now).Allowed {
		t.Error("a service account without a name was allowed")
	}
}

func TestAccessPolicy(t *testing.T) {
	all := []secret.Caller{api, stage, nowhere, worker, intrude, alice, system}
	everything := []string{"*"}
	for name, tc := range map[string]struct {
		access *secret.AccessPolicy
		want   []secret.Caller
	}{
		"none":                     {nil, nil},
		"empty":                    {access(nil, nil), nil},
		"services only":            {access(everything, nil), nil},
		"environments only":        {access(nil, everything), nil},
		"one service":              {access([]string{"payments/api"}, []string{"production"}), []secret.Caller{api}},
		"one service, anywhere":    {access([]string{"payments/api"}, everything), []secret.Caller{api, stage, nowhere}},
		"a namespace":              {access([]string{"payments/*"}, []string{"production"}), []secret.Caller{api, worker}},
		"all services":             {access(everything, []string{"production"}), []secret.Caller{api, worker, intrude}},
		"two environments":         {access([]string{"payments/api"}, []string{"production", "staging"}), []secret.Caller{api, stage}},
		"no environment is none":   {access([]string{"payments/api"}, []string{""}), nil},
		"a name without namespace": {access([]string{"api"}, everything), nil},
		"a user's name":            {access([]string{"alice", "user:alice"}, everything), nil},
		"stars in namespaces":      {access([]string{"*/api", "pay*/api"}, everything), nil},
		"empty entry":              {access([]string{"", "/"}, everything), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []secret.Caller
			for _, caller := range all {
				for _, capability := range policy.Capabilities() {
					d := policy.Decide(nil, tc.access, caller, parsePath(t, "a"), capability, now)
					if d.Allowed && capability != policy.Read && capability != policy.List {
						t.Errorf("the access policy grants %s to %s", capability, caller)
					}
					if d.Allowed && capability == policy.Read {
						got = append(got, caller)
					}
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("readers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecision tells the whole answer, as `coffer explain` shows it.
func TestDecision(t *testing.T) {
	past, future := now.Add(-time.Second), now.Add(time.Second)
	expiring := func(r policy.Rule, at time.Time) policy.Rule {
		r.ExpiresAt = at
		return r
	}
	allowAPI := rule(t, policy.Allow, "a/**", accounts("payments", "api"))
	denyAll := rule(t, policy.Deny, "**", accounts("*", "*"))
	applied := func(name string, effect policy.Effect) policy.Match {
		return policy.Match{Rule: name, Effect: effect, Outcome: policy.Applied}
	}
	p1, p2 := "VaultPolicy p rule 1", "VaultPolicy p rule 2"
	open := access([]string{"payments/*"}, []string{"production"})
	openMatch := policy.Match{Rule: policy.AccessRule, Effect: policy.Allow, Outcome: policy.Applied, Environments: []string{"production"}}
	for name, tc := range map[string]struct {
		rules      []policy.Rule
		access     *secret.AccessPolicy
		caller     secret.Caller
		capability policy.Capability
		want       policy.Decision
	}{
		"nothing is allowed by default": {caller: api, capability: policy.Read},
		"an allowing rule": {
			rules: []policy.Rule{allowAPI}, caller: api, capability: policy.Read,
			want: policy.Decision{Allowed: true, Rule: p1, Matched: []policy.Match{applied(p1, policy.Allow)}},
		},
		"another capability": {rules: []policy.Rule{allowAPI}, caller: api, capability: policy.Write},
		"another path":       {rules: []policy.Rule{rule(t, policy.Allow, "b", accounts("payments", "api"))}, caller: api, capability: policy.Read},
		"the first allowing rule is named": {
			rules: []policy.Rule{allowAPI, allowAPI}, caller: api, capability: policy.Read,
			want: policy.Decision{Allowed: true, Rule: p1, Matched: []policy.Match{applied(p1, policy.Allow), applied(p2, policy.Allow)}},
		},
		"deny wins whatever the order": {
			rules: []policy.Rule{allowAPI, denyAll}, caller: api, capability: policy.Read,
			want: policy.Decision{Rule: p2, Matched: []policy.Match{applied(p1, policy.Allow), applied(p2, policy.Deny)}},
		},
		"deny wins over the access policy": {
			rules: []policy.Rule{denyAll}, access: open, caller: api, capability: policy.Read,
			want: policy.Decision{Rule: p1, Matched: []policy.Match{applied(p1, policy.Deny), openMatch}},
		},
		"an effect that is neither denies": {
			rules: []policy.Rule{{
				Policy: "p", Index: 1, Effect: "Permit", Paths: []policy.Pattern{parsePattern(t, "**")},
				Capabilities: []policy.Capability{policy.Read}, Subjects: accounts("*", "*"),
			}},
			access: open, caller: api, capability: policy.Read,
			want: policy.Decision{Rule: p1, Matched: []policy.Match{applied(p1, "Permit"), openMatch}},
		},
		"the access policy": {
			access: open, caller: api, capability: policy.List,
			want: policy.Decision{Allowed: true, Rule: policy.AccessRule, Matched: []policy.Match{openMatch}},
		},
		"a rule is named before the access policy": {
			rules: []policy.Rule{allowAPI}, access: open, caller: api, capability: policy.Read,
			want: policy.Decision{Allowed: true, Rule: p1, Matched: []policy.Match{applied(p1, policy.Allow), openMatch}},
		},
		"the access policy for another environment": {
			access: open, caller: stage, capability: policy.Read,
			want: policy.Decision{Matched: []policy.Match{{
				Rule: policy.AccessRule, Effect: policy.Allow, Outcome: policy.OtherEnvironment, Environments: []string{"production"},
			}}},
		},
		"before it expires": {
			rules: []policy.Rule{expiring(allowAPI, future)}, caller: api, capability: policy.Read,
			want: policy.Decision{Allowed: true, Rule: p1, Until: future, Matched: []policy.Match{{Rule: p1, Effect: policy.Allow, Outcome: policy.Applied, ExpiresAt: future}}},
		},
		"the moment it expires": {
			rules: []policy.Rule{expiring(allowAPI, now)}, caller: api, capability: policy.Read,
			want: policy.Decision{Matched: []policy.Match{{Rule: p1, Effect: policy.Allow, Outcome: policy.Expired, ExpiresAt: now}}},
		},
		"an expired denial": {
			rules: []policy.Rule{expiring(denyAll, past), allowAPI}, caller: api, capability: policy.Read,
			want: policy.Decision{Allowed: true, Rule: p2, Matched: []policy.Match{
				{Rule: p1, Effect: policy.Deny, Outcome: policy.Expired, ExpiresAt: past}, applied(p2, policy.Allow),
			}},
		},
		"a rule for another environment": {
			rules: []policy.Rule{rule(t, policy.Allow, "**", accounts("*", "*"), "staging")}, caller: api, capability: policy.Read,
			want: policy.Decision{Matched: []policy.Match{{
				Rule: p1, Effect: policy.Allow, Outcome: policy.OtherEnvironment, Environments: []string{"staging"},
			}}},
		},
		"a rule for environments, caller of none": {
			rules: []policy.Rule{rule(t, policy.Deny, "**", accounts("*", "*"), "*"), allowAPI}, caller: nowhere, capability: policy.Read,
			want: policy.Decision{Rule: p1, Matched: []policy.Match{
				{Rule: p1, Effect: policy.Deny, Outcome: policy.Applied, Environments: []string{"*"}}, applied(p2, policy.Allow),
			}},
		},
		"an account of another UID": {
			rules: []policy.Rule{rule(t, policy.Allow, "**", account(former))}, caller: api, capability: policy.Read,
			want: policy.Decision{Matched: []policy.Match{{Rule: p1, Effect: policy.Allow, Outcome: policy.OtherUID}}},
		},
		"Coffer itself": {rules: []policy.Rule{allowAPI}, access: access([]string{"*"}, []string{"*"}), caller: system, capability: policy.Read},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range tc.rules {
				tc.rules[i].Policy, tc.rules[i].Index = "p", i+1
			}
			got := policy.Decide(tc.rules, tc.access, tc.caller, parsePath(t, "a/b"), tc.capability, now)
			// TestMatchesNameTheirReasons is about the two fields.
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(policy.Match{}, "Path", "Subject")); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReservedPaths: a wildcard denies on the vault itself and does not allow there.
func TestReservedPaths(t *testing.T) {
	for _, tc := range []struct {
		effect  policy.Effect
		pattern string
		path    string
		applies bool
	}{
		{policy.Allow, "**", "sys/keyring", false},
		{policy.Allow, "*", "sys", false},
		{policy.Allow, "*/keyring", "sys/keyring", false},
		{policy.Allow, "**/sys/**", "sys/keyring", false},
		{policy.Allow, "sys/**", "sys/keyring", true},
		{policy.Allow, "sys/*", "sys/keyring", true},
		{policy.Allow, "sys/keyring", "sys/keyring", true},
		{policy.Allow, "**", "system/keyring", true},
		{policy.Allow, "**", "a/sys", true},
		{policy.Deny, "**", "sys/keyring", true},
		{policy.Deny, "*/keyring", "sys/keyring", true},
	} {
		t.Run(string(tc.effect)+" "+tc.pattern+" on "+tc.path, func(t *testing.T) {
			d := policy.Decide([]policy.Rule{rule(t, tc.effect, tc.pattern, accounts("payments", "*"))}, nil, api, parsePath(t, tc.path), policy.Read, now)
			if got := len(d.Matched) == 1; got != tc.applies {
				t.Errorf("the rule applies: %v, want %v; decision %+v", got, tc.applies, d)
			}
		})
	}
}

// TestMatchesNameTheirReasons: a match says which pattern and which subject of the
// rule are about the question, the first of several.
func TestMatchesNameTheirReasons(t *testing.T) {
	for name, tc := range map[string]struct {
		subjects policy.Subjects
		caller   secret.Caller
		want     string
	}{
		"a service account":         {accounts("payments", "api"), api, "serviceaccount payments/api"},
		"a namespace":               {accounts("payments", "*"), api, "serviceaccount payments/*"},
		"a user":                    {users("alice"), alice, "user alice"},
		"a group":                   {groups("nobody", "platform"), alice, "group platform"},
		"an account as a user":      {users("system:serviceaccount:payments:api"), api, "user system:serviceaccount:payments:api"},
		"an account by its UID":     {account(former), former, "serviceaccount payments/api with UID 1"},
		"an account's namesake":     {account(former), renewed, "serviceaccount payments/api with UID 1"},
		"any before a namesake":     {policy.Subjects{ServiceAccounts: account(former).ServiceAccounts, Groups: []string{"system:serviceaccounts"}}, renewed, "group system:serviceaccounts"},
		"an account's group":        {groups("system:serviceaccounts:payments"), api, "group system:serviceaccounts:payments"},
		"a user before its groups":  {policy.Subjects{Users: []string{"alice"}, Groups: []string{"platform"}}, alice, "user alice"},
		"an account before a group": {policy.Subjects{ServiceAccounts: accounts("*", "api").ServiceAccounts, Groups: []string{"system:authenticated"}}, api, "serviceaccount */api"},
	} {
		t.Run(name, func(t *testing.T) {
			r := rule(t, policy.Allow, "x/**", tc.subjects)
			r.Paths = append(r.Paths, parsePattern(t, "a/*"), parsePattern(t, "**"))
			d := policy.Decide([]policy.Rule{r}, nil, tc.caller, parsePath(t, "a/b"), policy.Read, now)
			if len(d.Matched) != 1 || d.Matched[0].Path.String() != "a/*" || d.Matched[0].Subject.String() != tc.want {
				t.Errorf("matched %+v, want a/* and %q", d.Matched, tc.want)
			}
		})
	}
	d := policy.Decide(nil, access([]string{"orders/*", "payments/*"}, []string{"*"}), api, parsePath(t, "a/b"), policy.Read, now)
	if len(d.Matched) != 1 || d.Matched[0].Path.String() != "" || d.Matched[0].Subject.String() != "serviceaccount payments/*" {
		t.Errorf("the access policy matched %+v", d.Matched)
	}
}
