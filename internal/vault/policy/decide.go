package policy

import (
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Outcome is what came of a rule that is about the path, the capability and the
// caller.
type Outcome string

// The outcomes.
const (
	// Applied rules have their effect.
	Applied Outcome = "applied"
	// Expired rules had it once.
	Expired Outcome = "expired"
	// OtherEnvironment rules are about callers of other environments.
	OtherEnvironment Outcome = "other-environment"
	// OtherUID rules are about another account of the caller's namespace and name, by
	// its UID: one that was deleted, as a rule.
	OtherUID Outcome = "other-uid"
)

// Match is a rule that names the path, the capability and the caller, and what came
// of it.
type Match struct {
	// Rule is the name of the rule, as Decision.Rule.
	Rule    string  `json:"rule"`
	Effect  Effect  `json:"effect"`
	Outcome Outcome `json:"outcome"`
	// Path is the pattern of the rule that selects the path, the first if several do;
	// zero for AccessRule.
	Path Pattern `json:"path,omitzero"`
	// Subject is the entry of the rule that names the caller, the first if several do.
	Subject Subject `json:"subject"`
	// Environments and ExpiresAt are those of the rule.
	Environments []string  `json:"environments,omitempty"`
	ExpiresAt    time.Time `json:"expiresAt,omitzero"`
}

// Decision is the answer to one question, and why.
type Decision struct {
	Allowed bool `json:"allowed"`
	// Rule is what decided: "VaultPolicy admins rule 1", AccessRule, or "" when
	// nothing allows the caller.
	Rule string `json:"rule,omitempty"`
	// Until is the first moment at which the answer is another though nothing is
	// changed: a rule that it rests on ends. The zero time is never.
	Until time.Time `json:"until,omitzero"`
	// Matched holds the rules that name the path, the capability and the caller, in
	// their order, the access policy on the secret last.
	Matched []Match `json:"matched,omitempty"`
}

// Explanation is a decision as told to who asked for it.
type Explanation struct {
	Decision
	// Subject is who the decision is about. It is not who was asked about when a
	// caller without the audit capability asks about itself in another environment,
	// with another UID or other groups: the answer is then about the caller as it is.
	Subject secret.Caller
}

// Decide says whether caller may do capability on path at the time now.
//
// rules are all rules of the caller's cluster; access is the access policy on the
// secret, nil when the path does not exist. The first denying rule that applies
// decides; otherwise the first allowing one; otherwise the access policy; otherwise
// the caller is not allowed. Callers of secret.KindSystem are never allowed here:
// the engine decides about Coffer itself.
func Decide(rules []Rule, access *secret.AccessPolicy, caller secret.Caller, path secret.Path,
	capability Capability, now time.Time,
) Decision {
	var d Decision
	allowed, denied := "", ""
	for i := range rules {
		m, ok := rules[i].match(caller, path, capability)
		if !ok {
			continue
		}
		if m.Outcome == "" {
			m.Outcome = rules[i].outcome(caller, now)
		}
		d.Matched = append(d.Matched, m)
		switch {
		case m.Outcome != Applied:
		case m.Effect == Allow && allowed == "":
			allowed = m.Rule
		case m.Effect != Allow && denied == "":
			denied = m.Rule
		}
	}
	if m, ok := matchAccess(access, caller, capability); ok {
		d.Matched = append(d.Matched, m)
		if m.Outcome == Applied && allowed == "" {
			allowed = m.Rule
		}
	}
	d.Allowed = denied == "" && allowed != ""
	d.Rule = allowed
	if denied != "" {
		d.Rule = denied
	}
	d.Until = until(d.Matched, d.Allowed)
	return d
}

// AllowedSomewhere reports whether a rule allows caller the capability on some path. What denies it
// there is not asked: the answer is for who then decides path by path.
func AllowedSomewhere(rules []Rule, caller secret.Caller, capability Capability, now time.Time) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		_, named := r.Subjects.find(caller)
		return named && r.Effect == Allow && slices.Contains(r.Capabilities, capability) && r.outcome(caller, now) == Applied
	})
}

// match reports whether r is about the question, whatever the time and environment,
// and why. The outcome is left open, unless it is OtherUID.
func (r *Rule) match(caller secret.Caller, path secret.Path, capability Capability) (Match, bool) {
	if !slices.Contains(r.Capabilities, capability) {
		return Match{}, false
	}
	var outcome Outcome
	subject, ok := r.Subjects.find(caller)
	if !ok {
		outcome = OtherUID
		subject, ok = r.Subjects.findNamesake(caller)
	}
	if !ok {
		return Match{}, false
	}
	i := slices.IndexFunc(r.Paths, func(p Pattern) bool { return p.Match(path) && r.reaches(p, path) })
	if i < 0 {
		return Match{}, false
	}
	return Match{
		Rule: r.Name(), Effect: r.Effect, Outcome: outcome, Path: r.Paths[i], Subject: subject,
		Environments: r.Environments, ExpiresAt: r.ExpiresAt,
	}, true
}

// reaches keeps an allowing wildcard away from the vault itself: who may read "**"
// may read every secret, and is not by that an administrator of the keyring. A
// denying wildcard denies all.
func (r *Rule) reaches(p Pattern, path secret.Path) bool {
	return r.Effect != Allow || !path.IsReserved() || p.NamesReserved()
}

// outcome says what comes of a rule that is about the question.
func (r *Rule) outcome(caller secret.Caller, now time.Time) Outcome {
	switch {
	case !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt):
		return Expired
	case len(r.Environments) > 0 && !environmentListed(r.Environments, caller.Environment):
		return OtherEnvironment
	}
	return Applied
}

// matchAccess is match, with its outcome, for the access policy on the secret; ok is
// false when it does not name the caller.
func matchAccess(access *secret.AccessPolicy, caller secret.Caller, capability Capability) (m Match, ok bool) {
	if access == nil || !accessGrants(capability) {
		return Match{}, false
	}
	subject, ok := findAccess(*access, caller)
	if !ok {
		return Match{}, false
	}
	m = Match{Rule: AccessRule, Effect: Allow, Outcome: Applied, Subject: subject, Environments: access.AllowedEnvironments}
	if !environmentListed(access.AllowedEnvironments, caller.Environment) {
		m.Outcome = OtherEnvironment
	}
	return m, true
}
