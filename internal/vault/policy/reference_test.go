package policy_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The reference evaluator says the same as Decide in the slowest and plainest way: it
// writes out every name a caller answers to and every reason to allow or deny, one by
// one, and shares no code with the package.

func referenceAllowed(rules []policy.Rule, access *secret.AccessPolicy, c secret.Caller, path string, capability policy.Capability, at time.Time) bool {
	if c.Kind == secret.KindSystem {
		return false
	}
	for _, r := range rules {
		if r.Effect == policy.Deny && referenceApplies(r, c, path, capability, at) {
			return false
		}
	}
	for _, r := range rules {
		if r.Effect == policy.Allow && referenceApplies(r, c, path, capability, at) {
			return true
		}
	}
	return access != nil && referenceShared(*access, c, capability)
}

func referenceApplies(r policy.Rule, c secret.Caller, path string, capability policy.Capability, at time.Time) bool {
	expired := r.ExpiresAt != (time.Time{}) && (at.After(r.ExpiresAt) || at.Equal(r.ExpiresAt))
	environment := len(r.Environments) == 0
	for _, e := range r.Environments {
		environment = environment || e == "*" || (e == c.Environment && e != "")
	}
	about := false
	for _, listed := range r.Capabilities {
		about = about || listed == capability
	}
	selected := false
	for _, p := range r.Paths {
		wildcardOnSystem := r.Effect == policy.Allow && strings.HasPrefix(path+"/", "sys/") && !strings.HasPrefix(p.String()+"/", "sys/")
		selected = selected || !wildcardOnSystem && regexpOf(p.String()).MatchString(path+"/")
	}
	return !expired && environment && about && selected && referenceSubject(r.Subjects, c)
}

func referenceSubject(s policy.Subjects, c secret.Caller) bool {
	accounts, userNames, groupNames := []string{}, []string{c.Name}, c.Groups
	if c.Kind == secret.KindServiceAccount {
		accounts = []string{c.Namespace + "/" + c.Name, "*/" + c.Name, c.Namespace + "/*", "*/*"}
		userNames = []string{"system:serviceaccount:" + c.Namespace + ":" + c.Name}
		groupNames = []string{"system:serviceaccounts", "system:serviceaccounts:" + c.Namespace, "system:authenticated"}
	}
	listed := map[string]bool{}
	for _, a := range s.ServiceAccounts {
		listed["account "+a.Namespace+"/"+a.Name] = listed["account "+a.Namespace+"/"+a.Name] || a.UID == "" || a.UID == c.UID
	}
	for _, u := range s.Users {
		listed["user "+u] = true
	}
	for _, g := range s.Groups {
		listed["group "+g] = true
	}
	found := false
	for _, name := range accounts {
		found = found || listed["account "+name]
	}
	for _, name := range userNames {
		found = found || listed["user "+name]
	}
	for _, name := range groupNames {
		found = found || listed["group "+name]
	}
	return found
}

func referenceShared(access secret.AccessPolicy, c secret.Caller, capability policy.Capability) bool {
	if c.Kind != secret.KindServiceAccount || (capability != policy.Read && capability != policy.List) {
		return false
	}
	services := " " + strings.Join(access.AllowedServices, " ") + " "
	environments := " " + strings.Join(access.AllowedEnvironments, " ") + " "
	service := strings.Contains(services, " * ") || strings.Contains(services, " "+c.Namespace+"/* ") ||
		strings.Contains(services, " "+c.Namespace+"/"+c.Name+" ")
	environment := strings.Contains(environments, " * ") ||
		(c.Environment != "" && strings.Contains(environments, " "+c.Environment+" "))
	return service && environment
}

func TestDecideAgainstReference(t *testing.T) {
	allowed := 0
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(drawRule), 0, 5).Draw(t, "rules")
		access := rapid.Ptr(rapid.Custom(drawAccess), true).Draw(t, "access")
		caller := rapid.Custom(drawCaller).Draw(t, "caller")
		path := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "sys"}), 1, 3).Draw(t, "path"), "/")
		for i := range list {
			list[i].Index = i + 1
		}
		capability := drawCapability.Draw(t, "capability")

		got := policy.Decide(list, access, caller, parsePath(t, path), capability, now)
		if want := referenceAllowed(list, access, caller, path, capability, now); got.Allowed != want {
			t.Fatalf("allowed %v, want %v; decision %+v", got.Allowed, want, got)
		}
		checkReasons(t, got)
		checkUntil(t, got, func(at time.Time) bool {
			return referenceAllowed(list, access, caller, path, capability, at)
		})
		checkNamed(t, got, func(rules []policy.Rule, access *secret.AccessPolicy) policy.Decision {
			return policy.Decide(rules, access, caller, parsePath(t, path), capability, now)
		}, list, access)
		if got.Allowed {
			allowed++
		}
	})
	if allowed == 0 {
		t.Error("no question was ever answered with yes: the generator is too narrow")
	}
}

// checkReasons holds a decision against its own reasons.
func checkReasons(t *rapid.T, d policy.Decision) {
	reason, denials := false, 0
	for _, m := range d.Matched {
		if m.Outcome == policy.Applied && m.Effect == policy.Deny {
			denials++
		}
		if m.Outcome == policy.Applied && m.Rule == d.Rule {
			reason = reason || (m.Effect == policy.Allow) == d.Allowed
		}
	}
	if d.Allowed && denials > 0 {
		t.Fatalf("allowed in spite of a denial: %+v", d)
	}
	if (d.Allowed || denials > 0) != (d.Rule != "") || d.Rule != "" && !reason {
		t.Fatalf("the rule named is not the reason: %+v", d)
	}
}

// checkUntil holds the moment to which an answer stays against the answers to come. The
// last of the rules that are drawn ends 3 ns after now.
func checkUntil(t *rapid.T, d policy.Decision, allowed func(time.Time) bool) {
	want := time.Time{}
	for at := now; want.IsZero() && at.Before(now.Add(5)); at = at.Add(1) {
		if allowed(at) != d.Allowed {
			want = at
		}
	}
	if !d.Until.Equal(want) {
		t.Fatalf("the answer stays until %v, want %v; decision %+v", d.Until, want, d)
	}
}

// checkNamed holds a decision against those that some of the rules alone would give: each
// rule that it names is about the question, and those that it does not name decide nothing.
func checkNamed(t *rapid.T, d policy.Decision, decide func([]policy.Rule, *secret.AccessPolicy) policy.Decision, rules []policy.Rule, access *secret.AccessPolicy) {
	named := map[string]policy.Match{}
	for _, m := range d.Matched {
		named[m.Rule] = m
	}
	var about []policy.Rule
	for _, r := range rules {
		m, isNamed := named[r.Name()]
		alone := decide([]policy.Rule{r}, nil)
		if isNamed != (len(alone.Matched) == 1) || isNamed && alone.Matched[0].Outcome != m.Outcome {
			t.Fatalf("%s is named: %v, as %+v; alone %+v", r.Name(), isNamed, m, alone)
		}
		if !isNamed {
			continue
		}
		about = append(about, r)
		if applies := m.Outcome == policy.Applied && r.Effect == policy.Allow; alone.Allowed != applies {
			t.Fatalf("%s alone: %+v", r.Name(), alone)
		}
	}
	m, isNamed := named[policy.AccessRule]
	if alone := decide(nil, access); alone.Allowed != (isNamed && m.Outcome == policy.Applied) {
		t.Fatalf("the access policy is named: %v, as %+v; alone %+v", isNamed, m, alone)
	}
	if !isNamed {
		access = nil
	}
	if only := decide(about, access); only.Allowed != d.Allowed || only.Rule != d.Rule || len(only.Matched) != len(d.Matched) {
		t.Fatalf("with the named rules only %+v, with all %+v", only, d)
	}
	if !d.Allowed {
		return
	}
	// Without what allows it nothing is allowed.
	var rest []policy.Rule
	for _, r := range about {
		if named[r.Name()].Outcome != policy.Applied {
			rest = append(rest, r)
		}
	}
	if without := decide(rest, nil); without.Allowed {
		t.Fatalf("allowed by rules that do not apply: %+v", without)
	}
}

// Few names, so that they meet.
var (
	// share is like write, and not like read, to an access policy.
	drawCapability  = rapid.SampledFrom([]policy.Capability{policy.Read, policy.List, policy.Write, policy.Share, policy.Delete})
	drawName        = rapid.SampledFrom([]string{"x", "y"})
	drawNameOrStar  = rapid.SampledFrom([]string{"x", "y", "*"})
	drawUID         = rapid.SampledFrom([]string{"", "1", "2"})
	drawEnvironment = rapid.SampledFrom([]string{"", "p", "s"})
)

func drawRule(t *rapid.T) policy.Rule {
	r := policy.Rule{
		Policy: "p", Index: rapid.IntRange(1, 99).Draw(t, "index"),
		Effect:       rapid.SampledFrom([]policy.Effect{policy.Allow, policy.Allow, policy.Deny}).Draw(t, "effect"),
		Capabilities: rapid.SliceOfN(drawCapability, 1, 4).Draw(t, "capabilities"),
		Environments: rapid.SliceOfN(rapid.SampledFrom([]string{"p", "s", "*"}), 0, 2).Draw(t, "environments"),
		ExpiresAt:    rapid.SampledFrom([]time.Time{{}, {}, now, now.Add(-1), now.Add(1), now.Add(2), now.Add(3)}).Draw(t, "expiresAt"),
	}
	for _, s := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "*", "**", "a/*", "a/**", "**/b", "a/**/b", "*/**", "sys/**", "sys/*"}), 1, 2).Draw(t, "paths") {
		r.Paths = append(r.Paths, parsePattern(t, s))
	}
	for range rapid.IntRange(0, 2).Draw(t, "accounts") {
		r.Subjects.ServiceAccounts = append(r.Subjects.ServiceAccounts, policy.ServiceAccount{
			Namespace: drawNameOrStar.Draw(t, "namespace"), Name: drawNameOrStar.Draw(t, "name"), UID: drawUID.Draw(t, "uid"),
		})
	}
	r.Subjects.Users = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "*", "system:serviceaccount:x:y"}), 0, 1).Draw(t, "users")
	r.Subjects.Groups = rapid.SliceOfN(rapid.SampledFrom([]string{"g", "system:serviceaccounts:y", "system:serviceaccounts", "system:authenticated"}), 0, 1).Draw(t, "groups")
	return r
}

func drawAccess(t *rapid.T) secret.AccessPolicy {
	return secret.AccessPolicy{
		AllowedServices:     rapid.SliceOfN(rapid.SampledFrom([]string{"*", "x/*", "x/x", "y/x", "x", "*/x"}), 0, 2).Draw(t, "services"),
		AllowedEnvironments: rapid.SliceOfN(rapid.SampledFrom([]string{"*", "p", "s"}), 0, 2).Draw(t, "environments"),
	}
}

func drawCaller(t *rapid.T) secret.Caller {
	c := secret.Caller{
		Kind:        rapid.SampledFrom([]secret.Kind{secret.KindServiceAccount, secret.KindServiceAccount, secret.KindUser, secret.KindSystem}).Draw(t, "kind"),
		Name:        drawName.Draw(t, "name"),
		Groups:      rapid.SliceOfN(rapid.SampledFrom([]string{"g", "h"}), 0, 1).Draw(t, "groups"),
		Environment: drawEnvironment.Draw(t, "environment"),
	}
	if c.Kind == secret.KindServiceAccount {
		c.Namespace, c.UID = drawName.Draw(t, "namespace"), drawUID.Draw(t, "uid")
	}
	return c
}

func BenchmarkDecide(b *testing.B) {
	var list []policy.Rule
	for range 256 {
		list = append(list, rule(b, policy.Allow, "**/other/*/x", accounts("payments", "*")))
	}
	list = append(list, rule(b, policy.Allow, "production/payments/**", accounts("payments", "*")))
	path := parsePath(b, "production/payments/database")
	b.ReportAllocs()
	for b.Loop() {
		if !policy.Decide(list, nil, api, path, policy.Read, now).Allowed {
			b.Fatal("denied")
		}
	}
}
