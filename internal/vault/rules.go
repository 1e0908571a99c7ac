package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// ruleSet is a cluster's policies as loaded and verified at a revision.
type ruleSet struct {
	set   store.PolicySet
	rules []policy.Rule
}

// Reasons for not deciding anything.
var (
	// errNeverSynced is no denial: the operator takes away the Secrets of who is
	// denied, and a policy set that somebody removed must not cost a cluster all of
	// its Secrets.
	errNeverSynced = neverSynced{}
	errReplayed    = fmt.Errorf("%w: the stored policies are older than those that were in force", secret.ErrTampered)
)

// neverSynced is secret.ErrUnavailable, and does not blame the database.
type neverSynced struct{}

func (neverSynced) Error() string {
	return "its policies are not in the vault; the operator brings them when it starts and when a VaultPolicy changes"
}

func (neverSynced) Unwrap() error { return secret.ErrUnavailable }

// rules returns the rules of cluster that head says are current: from memory when
// it is the set last verified, so that a changed policy counts from the next
// operation on every replica at the cost of a comparison. A set edited in place,
// under an unchanged head, is not believed: the verified rules stay in force.
//
// A cluster whose policies were never synced gets errNeverSynced: nothing is
// decided, not even by access policies. Else who removes a set would remove its
// denials. An older set than this engine has verified, put back by somebody, gets
// errReplayed.
func (e *Engine) rules(ctx context.Context, cluster string, head *store.PolicySetHead) ([]policy.Rule, error) {
	set, err := e.ruleSet(ctx, cluster, head)
	if err != nil {
		return nil, err
	}
	return set.rules, nil
}

// ruleSet is rules with the policies that they are of.
func (e *Engine) ruleSet(ctx context.Context, cluster string, head *store.PolicySetHead) (*ruleSet, error) {
	if head == nil {
		return nil, fmt.Errorf("cluster %q: %w", cluster, errNeverSynced)
	}
	known := e.knownPolicies(cluster)
	if known != nil && known.set.Revision == head.Revision && bytes.Equal(known.set.MAC, head.MAC) {
		return known, nil
	}
	set, err := e.store.PolicySet(ctx, cluster)
	if err != nil {
		return nil, err
	}
	if set == nil {
		return nil, fmt.Errorf("cluster %q: %w", cluster, errNeverSynced)
	}
	if !e.verifyPolicies(cluster, set) {
		return nil, fmt.Errorf("%w: the policies of cluster %q", secret.ErrTampered, cluster)
	}
	// The set was read after known was looked up, so only a set that went back is
	// older: head may just be from before another operation's newer one.
	if known != nil && set.Revision < known.set.Revision {
		if slices.EqualFunc(known.set.Policies, set.Policies, samePolicy) {
			return known, nil // whatever became of the numbers, it is what was in force
		}
		return nil, fmt.Errorf("cluster %q, revision %d after %d: %w", cluster, set.Revision, known.set.Revision, errReplayed)
	}
	return e.rememberPolicies(cluster, set)
}

// knownPolicies is the newest set of cluster that this engine has verified; nil
// when none.
func (e *Engine) knownPolicies(cluster string) *ruleSet {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.policies[cluster]
}

// rememberPolicies keeps set, which was verified or written, unless a newer one
// was meanwhile. It returns set with its rules.
func (e *Engine) rememberPolicies(cluster string, set *store.PolicySet) (*ruleSet, error) {
	loaded := &ruleSet{set: *set}
	for _, p := range set.Policies {
		parsed, err := unmarshalRules(p)
		if err != nil {
			return nil, err
		}
		loaded.rules = append(loaded.rules, parsed...)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if known := e.policies[cluster]; known == nil || known.set.Revision <= set.Revision {
		e.policies[cluster] = loaded
	}
	return loaded, nil
}

// unmarshalRules refuses what it does not know: a newer replica may have written a
// condition that this one would not apply.
func unmarshalRules(p store.Policy) ([]policy.Rule, error) {
	decoder := json.NewDecoder(bytes.NewReader(p.Rules))
	decoder.DisallowUnknownFields()
	var rules []policy.Rule
	err := decoder.Decode(&rules)
	if err == nil && !json.Valid(p.Rules) {
		err = errors.New("more stands behind it")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: VaultPolicy %s is stored in a form that this version of Coffer does not know: %w", secret.ErrUnavailable, p.Name, err)
	}
	return rules, nil
}
