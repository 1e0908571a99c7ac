package vault

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// policySync is who replaces policies: the policy controller, by no token.
var policySync = secret.Caller{Kind: secret.KindSystem, Name: "policy-sync", Address: secret.OperatorAddress}

// ReplacePolicies makes policies the whole set of cluster. It counts from the next
// operation on, on every replica. When nothing differs it writes nothing and
// reports false. A stored set that fails its integrity check is replaced, and the
// audit log says so: the truth about policies is in Kubernetes.
//
// Revisions only grow. They are kept above the clock in seconds, so that a set
// written after an older one was put back is newer than any that a replica may
// remember.
//
// Until the first call for a cluster, be it with no policies, nothing is decided
// for anybody of it: they get secret.ErrUnavailable.
//
// Errors: secret.ErrInvalid, secret.ErrUnavailable.
func (e *Engine) ReplacePolicies(ctx context.Context, cluster string, policies []policy.Policy) (changed bool, err error) {
	ctx, done := e.begin(ctx, audit.Policy)
	defer func() { done(err) }()
	wanted, err := marshalPolicies(cluster, policies)
	if err != nil {
		return false, err
	}
	caller := policySync
	caller.Cluster = cluster
	// Looked up before the set is locked and read: the set can only be newer.
	var newest int64
	if known := e.knownPolicies(cluster); known != nil {
		newest = known.set.Revision
	}
	var inForce *store.PolicySet
	err = e.transact(ctx, audit.Policy, func(tx *store.Tx, record func(audit.Entry)) error {
		changed = false
		stored, err := tx.LockPolicySet(ctx, cluster)
		if err != nil {
			return err
		}
		next := &store.PolicySet{Policies: wanted}
		if stored != nil {
			finding := e.policiesFinding(cluster, stored, newest)
			if finding == "" && slices.EqualFunc(stored.Policies, wanted, samePolicy) {
				inForce = stored
				return nil
			}
			if finding != "" {
				record(newEntry(caller, audit.Policy, "", 0, audit.Failed, finding+" and are replaced"))
				e.logger.ErrorContext(ctx, "the stored policies are replaced", "finding", finding, "cluster", cluster)
			}
			next.Revision = stored.Revision
		}
		next.Revision = max(next.Revision, newest, e.now().Unix()) + 1
		next.MAC = e.policiesMAC(cluster, next)
		tx.ReplacePolicySet(cluster, next)
		record(newEntry(caller, audit.Policy, "", next.Revision, audit.Allowed, fmt.Sprintf("%d policies of cluster %s", len(wanted), cluster)))
		tx.InsertChange(changes.Change{Kind: changes.Policy, Cluster: cluster})
		inForce, changed = next, true
		return nil
	})
	if err == nil {
		_, err = e.rememberPolicies(cluster, inForce)
	}
	if err != nil {
		return false, fmt.Errorf("replace the policies of cluster %q: %w", cluster, err)
	}
	if changed {
		e.announce(changes.Change{Kind: changes.Policy, Cluster: cluster})
	}
	return changed, nil
}

// policiesFinding is what is wrong with a stored set, given the newest revision
// that this engine has verified; empty when nothing is.
func (e *Engine) policiesFinding(cluster string, stored *store.PolicySet, newest int64) string {
	switch {
	case !e.verifyPolicies(cluster, stored):
		return rulePolicyMAC
	case stored.Revision < newest:
		return rulePolicyReplay
	}
	return ""
}

func samePolicy(a, b store.Policy) bool { return a.Name == b.Name && bytes.Equal(a.Rules, b.Rules) }

var errNoCluster = fmt.Errorf("%w: no cluster was given", secret.ErrInvalid)

// marshalPolicies returns policies as they are stored, by name.
func marshalPolicies(cluster string, policies []policy.Policy) ([]store.Policy, error) {
	if cluster == "" {
		return nil, errNoCluster
	}
	stored := make([]store.Policy, 0, len(policies))
	for _, p := range policies {
		if err := validateText("a policy's name", p.Name, maxObjectNameBytes); err != nil {
			return nil, err
		}
		rules, err := json.Marshal(p.Rules)
		if err != nil {
			return nil, fmt.Errorf("%w: VaultPolicy %s: %w", secret.ErrInvalid, p.Name, err)
		}
		stored = append(stored, store.Policy{Name: p.Name, Rules: rules})
	}
	slices.SortFunc(stored, func(a, b store.Policy) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(stored); i++ {
		if stored[i].Name == stored[i-1].Name {
			return nil, fmt.Errorf("%w: two policies have the name %q", secret.ErrInvalid, stored[i].Name)
		}
	}
	return stored, nil
}
