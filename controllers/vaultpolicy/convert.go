package vaultpolicy

import (
	"cmp"
	"slices"
	"time"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/policy"
)

// converted is all VaultPolicies as the engine takes them.
type converted struct {
	// objects are the VaultPolicies, and errs, by the same index, what is wrong with
	// each that cannot be enforced.
	objects []vaultv1alpha1.VaultPolicy
	errs    []error
	// policies are those in force, by name.
	policies []policy.Policy
	// nextExpiry is when the next of their rules ends; zero when none does.
	nextExpiry time.Time
}

// blocked reports whether a VaultPolicy that denies something cannot be enforced.
// Leaving it out would allow what it denies, so nothing is replaced then. One that
// only allows is left out.
func (c converted) blocked() bool {
	for i, err := range c.errs {
		if err != nil && denies(&c.objects[i]) {
			return true
		}
	}
	return false
}

// nextLook is how long the set stays right, at most resyncInterval.
func (c converted) nextLook(now time.Time) time.Duration {
	if c.nextExpiry.IsZero() {
		return resyncInterval
	}
	// A moment later, so that the clocks agree that the rule is over.
	return min(resyncInterval, c.nextExpiry.Sub(now)+10*time.Millisecond)
}

func denies(object *vaultv1alpha1.VaultPolicy) bool {
	return slices.ContainsFunc(object.Spec.Rules, func(rule vaultv1alpha1.VaultPolicyRule) bool {
		return rule.Effect != vaultv1alpha1.EffectAllow
	})
}

// convertAll converts what is in force at now. Being deleted does not count: the
// policy stays in force until it is gone.
func convertAll(objects []vaultv1alpha1.VaultPolicy, now time.Time) converted {
	c := converted{objects: objects, errs: make([]error, len(objects))}
	slices.SortFunc(c.objects, func(a, b vaultv1alpha1.VaultPolicy) int { return cmp.Compare(a.Name, b.Name) })
	for i := range c.objects {
		var p policy.Policy
		if p, c.errs[i] = convert(&c.objects[i]); c.errs[i] != nil {
			continue
		}
		p.Rules = slices.DeleteFunc(p.Rules, func(rule policy.Rule) bool {
			return !rule.ExpiresAt.IsZero() && !now.Before(rule.ExpiresAt)
		})
		for _, rule := range p.Rules {
			if at := rule.ExpiresAt; !at.IsZero() && (c.nextExpiry.IsZero() || at.Before(c.nextExpiry)) {
				c.nextExpiry = at
			}
		}
		if len(p.Rules) > 0 {
			c.policies = append(c.policies, p)
		}
	}
	return c
}

// convert numbers the rules as the VaultPolicy has them, so that what audit rows
// and explanations say can be found in it.
func convert(object *vaultv1alpha1.VaultPolicy) (policy.Policy, error) {
	rules := make([]policy.Rule, len(object.Spec.Rules))
	for i := range object.Spec.Rules {
		var err error
		if rules[i], err = convertRule(&object.Spec.Rules[i]); err != nil {
			return policy.Policy{}, err
		}
	}
	return policy.New(object.Name, rules)
}

func convertRule(spec *vaultv1alpha1.VaultPolicyRule) (policy.Rule, error) {
	rule := policy.Rule{
		Effect:       policy.Effect(spec.Effect),
		Environments: spec.Environments,
		Subjects:     policy.Subjects{Users: spec.Subjects.Users, Groups: spec.Subjects.Groups},
	}
	for _, text := range spec.Paths {
		pattern, err := policy.ParsePattern(string(text))
		if err != nil {
			return policy.Rule{}, err
		}
		rule.Paths = append(rule.Paths, pattern)
	}
	for _, capability := range spec.Capabilities {
		rule.Capabilities = append(rule.Capabilities, policy.Capability(capability))
	}
	for _, account := range spec.Subjects.ServiceAccounts {
		rule.Subjects.ServiceAccounts = append(rule.Subjects.ServiceAccounts, policy.ServiceAccount{
			Namespace: account.Namespace, Name: account.Name, UID: account.UID,
		})
	}
	if spec.ExpiresAt != nil {
		rule.ExpiresAt = spec.ExpiresAt.UTC()
	}
	return rule, nil
}
