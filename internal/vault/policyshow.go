package vault

import (
	"context"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// policiesPart is what policies name to let somebody see all of them.
var policiesPart = secret.System("policies")

// PoliciesInForce are the VaultPolicies of a cluster that the engine has verified and decides by: without those that it was not
// given, and without rules that had ended when they were synced.
type PoliciesInForce struct {
	Cluster string
	// Revision of the set. It grows with each change.
	Revision int64
	// Since is when the set was written, in whole seconds: later by a second for each set that followed another one within
	// the same second.
	Since time.Time
	// Policies by name. Their rules have the numbers that they have in the VaultPolicy.
	Policies []policy.Policy
}

// Policies returns the policies in force in caller's cluster. It needs the audit capability on sys/policies.
//
// Errors: secret.ErrDenied, secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) Policies(ctx context.Context, caller secret.Caller) (_ PoliciesInForce, err error) {
	ctx, done := e.begin(ctx, audit.PolicyList)
	defer func() { done(err) }()
	return e.showPolicies(ctx, caller, audit.PolicyList, func(policy.Policy) bool { return true })
}

// ShowPolicy is Policies with the one of the name only. One that is not in force gives the error of a denial.
//
// Errors are those of Policies.
func (e *Engine) ShowPolicy(ctx context.Context, caller secret.Caller, name string) (_ PoliciesInForce, err error) {
	ctx, done := e.begin(ctx, audit.PolicyShow)
	defer func() { done(err) }()
	return e.showPolicies(ctx, caller, audit.PolicyShow, func(p policy.Policy) bool { return p.Name == name })
}

// showPolicies authorises, audits and returns what is wanted of the policies that decided about it. Of the action PolicyShow
// exactly one must be.
func (e *Engine) showPolicies(ctx context.Context, caller secret.Caller, action audit.Action, wanted func(policy.Policy) bool) (PoliciesInForce, error) {
	r := request{caller: caller, action: action, ref: secret.Ref{Path: policiesPart}, need: []policy.Capability{policy.Audit}}
	head, err := e.head(ctx, caller, r.ref)
	if err != nil {
		return PoliciesInForce{}, err
	}
	v := e.judge(ctx, r, head)
	if v.err != nil {
		return PoliciesInForce{}, e.record(ctx, v)
	}
	shown, err := e.policiesInForce(ctx, caller.Cluster, head.Policies)
	if err != nil {
		return PoliciesInForce{}, e.record(ctx, r.fail(err, undecided(err)))
	}
	shown.Policies = slices.DeleteFunc(shown.Policies, func(p policy.Policy) bool { return !wanted(p) })
	v.entry.Version = shown.Revision
	if action == audit.PolicyShow && len(shown.Policies) != 1 {
		v = r.deny(ruleNoPolicy)
	}
	if err := e.record(ctx, v); err != nil {
		return PoliciesInForce{}, err
	}
	return shown, nil
}

func (e *Engine) policiesInForce(ctx context.Context, cluster string, head *store.PolicySetHead) (PoliciesInForce, error) {
	set, err := e.ruleSet(ctx, cluster, head)
	if err != nil {
		return PoliciesInForce{}, err
	}
	return set.inForce(cluster)
}

// inForce is s for who asks.
func (s *ruleSet) inForce(cluster string) (PoliciesInForce, error) {
	found := PoliciesInForce{
		Cluster: cluster, Revision: s.set.Revision,
		Since: time.Unix(s.set.Revision-1, 0).UTC(), // see ReplacePolicies
	}
	for _, stored := range s.set.Policies {
		rules, err := unmarshalRules(stored)
		if err != nil {
			return PoliciesInForce{}, err
		}
		found.Policies = append(found.Policies, policy.Policy{Name: stored.Name, Rules: rules})
	}
	return found, nil
}
