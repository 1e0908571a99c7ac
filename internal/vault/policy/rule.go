package policy

import (
	"fmt"
	"time"
)

// Effect is what a rule does when it applies.
type Effect string

// The effects.
const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// any stands for every namespace, service account or environment in a list.
const anyName = "*"

// Rule allows or denies capabilities on paths to subjects.
type Rule struct {
	// Policy is the name of the VaultPolicy and Index the place of the rule in it,
	// counted from 1 as people count. New sets both.
	Policy string `json:"policy"`
	Index  int    `json:"index"`
	Effect Effect `json:"effect"`
	// Paths selects paths; one match is enough.
	Paths []Pattern `json:"paths"`
	// Capabilities that the rule is about.
	Capabilities []Capability `json:"capabilities"`
	// Subjects that the rule is about.
	Subjects Subjects `json:"subjects"`
	// Environments limits the rule to callers of these environments. Empty, or with
	// "*" in it, it is about callers of any environment and of none.
	Environments []string `json:"environments,omitempty"`
	// ExpiresAt is the first moment at which the rule does not apply any more. The
	// zero time is never.
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}

// Name is how messages and audit rows call the rule: "VaultPolicy admins rule 1".
func (r Rule) Name() string { return fmt.Sprintf("VaultPolicy %s rule %d", r.Policy, r.Index) }

// Policy is the rules of one VaultPolicy.
type Policy struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// New makes a Policy of rules that it names and numbers. It refuses a rule that can
// never apply or says something unknown: a denying rule with a mistake in it would
// otherwise deny nothing, and nobody would notice.
func New(name string, rules []Rule) (Policy, error) {
	p := Policy{Name: name, Rules: make([]Rule, len(rules))}
	for i, rule := range rules {
		rule.Policy, rule.Index = name, i+1
		if err := rule.check(); err != nil {
			return Policy{}, fmt.Errorf("rule %d: %w", rule.Index, err)
		}
		p.Rules[i] = rule
	}
	return p, nil
}
