package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// ruleSet is a cluster's policies as loaded and verified at a revision.
type ruleSet struct {
	head  store.PolicySetHead
	rules []policy.Rule
}

// rules returns the rules of cluster that head says are current: from memory when
// it is the set last verified, so that a changed policy counts from the next
// operation on every replica at the cost of a comparison. A set edited in place,
// under an unchanged head, is not believed: the verified rules stay in force.
//
// A cluster whose policies were never synced has no rules, and synced is false:
// then nothing is allowed, not even by access policies. Else who removes a set
// would remove its denials.
func (e *Engine) rules(ctx context.Context, cluster string, head *store.PolicySetHead) (rules []policy.Rule, synced bool, err error) {
	if head == nil {
		return nil, false, nil
	}
	e.mu.RLock()
	known := e.policies[cluster]
	e.mu.RUnlock()
	if known != nil && known.head.Revision == head.Revision && bytes.Equal(known.head.MAC, head.MAC) {
		return known.rules, true, nil
	}
	set, err := e.store.PolicySet(ctx, cluster)
	if err != nil {
		return nil, false, err
	}
	if set == nil {
		return nil, false, nil
	}
	if !e.verifyPolicies(cluster, set) {
		return nil, false, fmt.Errorf("%w: the policies of cluster %q", secret.ErrTampered, cluster)
	}
	loaded := &ruleSet{head: set.PolicySetHead}
	for _, p := range set.Policies {
		parsed, err := unmarshalRules(p)
		if err != nil {
			return nil, false, err
		}
		loaded.rules = append(loaded.rules, parsed...)
	}
	e.mu.Lock()
	e.policies[cluster] = loaded
	e.mu.Unlock()
	return loaded.rules, true, nil
}

// unmarshalRules refuses what it does not know: a newer replica may have written a
// condition that this one would not apply.
func unmarshalRules(p store.Policy) ([]policy.Rule, error) {
	decoder := json.NewDecoder(bytes.NewReader(p.Rules))
	decoder.DisallowUnknownFields()
	var rules []policy.Rule
	if err := decoder.Decode(&rules); err != nil {
		return nil, fmt.Errorf("%w: VaultPolicy %s is stored in a form that this version of Coffer does not know: %w", secret.ErrUnavailable, p.Name, err)
	}
	return rules, nil
}
