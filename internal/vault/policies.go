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
var policySync = secret.Caller{Kind: secret.KindSystem, Name: "policy-sync", Address: "operator"}

// ReplacePolicies makes policies the whole set of cluster. It counts from the next
// operation on, on every replica. When nothing differs it writes nothing and
// reports false. A stored set that fails its integrity check is replaced, and the
// audit log says so: the truth about policies is in Kubernetes.
//
// Until the first call for a cluster, be it with no policies, nobody of it is
// allowed anything.
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
	err = e.store.InTx(ctx, func(tx *store.Tx) error {
		changed = false
		stored, err := tx.LockPolicySet(ctx, cluster)
		if err != nil {
			return err
		}
		next := &store.PolicySet{Policies: wanted}
		if stored != nil {
			intact := e.verifyPolicies(cluster, stored)
			if intact && slices.EqualFunc(stored.Policies, wanted, samePolicy) {
				return nil
			}
			if !intact {
				entry := newEntry(caller, audit.Policy, "", 0, audit.Failed, rulePolicyMAC+" and are replaced")
				tx.InsertAudit(&entry)
				e.logger.ErrorContext(ctx, "the stored policies fail their integrity check and are replaced", "cluster", cluster)
			}
			next.Revision = stored.Revision
		}
		next.Revision++
		next.MAC = e.policiesMAC(cluster, next)
		tx.ReplacePolicySet(cluster, next)
		entry := newEntry(caller, audit.Policy, "", next.Revision, audit.Allowed, fmt.Sprintf("%d policies of cluster %s", len(wanted), cluster))
		tx.InsertAudit(&entry)
		tx.InsertChange(changes.Change{Kind: changes.Policy})
		changed = true
		return tx.Flush(ctx)
	})
	if err != nil {
		return false, fmt.Errorf("replace the policies of cluster %q: %w", cluster, err)
	}
	if changed {
		e.announce(ctx, changes.Change{Kind: changes.Policy})
	}
	return changed, nil
}

func samePolicy(a, b store.Policy) bool { return a.Name == b.Name && bytes.Equal(a.Rules, b.Rules) }

// marshalPolicies returns policies as they are stored, by name.
func marshalPolicies(cluster string, policies []policy.Policy) ([]store.Policy, error) {
	if cluster == "" {
		return nil, fmt.Errorf("%w: no cluster was given", secret.ErrInvalid)
	}
	stored := make([]store.Policy, 0, len(policies))
	for _, p := range policies {
		if err := validateText("a policy's name", p.Name, maxPolicyNameBytes); err != nil {
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

// maxPolicyNameBytes is the limit of names of Kubernetes objects
// (k8s.io/apimachinery/pkg/util/validation.DNS1123SubdomainMaxLength).
const maxPolicyNameBytes = 253
