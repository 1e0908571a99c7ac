package vault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

var errReaderMAC = fmt.Errorf("%w: the record of who reads the path was changed", secret.ErrTampered)

// Consumers lists who has which version of a path: the VaultSecrets of all clusters, as
// their operators acknowledged it, and who reads over the API, by the reads of
// Options.ReaderWindow. It needs the audit or the rotate capability: who has a secret is
// what the audit log tells, and what somebody who rotates it answers for.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrTampered,
// secret.ErrUnavailable.
func (e *Engine) Consumers(ctx context.Context, caller secret.Caller, path secret.Path) (_ []secret.Consumer, err error) {
	ctx, done := e.begin(ctx, audit.Consumers)
	defer func() { done(err) }()
	r := request{caller: caller, action: audit.Consumers, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Audit, policy.Rotate}}
	head, err := e.head(ctx, caller, r.ref)
	if err != nil {
		return nil, err
	}
	if err := e.record(ctx, e.judgeVersion(ctx, r, head)); err != nil {
		return nil, err
	}
	found, finding, err := e.consumersOf(ctx, path)
	switch {
	case finding != "":
		return nil, e.record(ctx, r.fail(err, finding))
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	return found, nil
}

// ConsumersMoved says how far the consumers of path have moved on to version. It is for
// what Coffer does by itself, and so for no caller, and not audited: nothing leaves.
//
// Errors: secret.ErrTampered: nothing can be said, and nothing may be concluded, until the
// operators have put it right; secret.ErrUnavailable.
func (e *Engine) ConsumersMoved(ctx context.Context, path secret.Path, version int64) (secret.Progress, error) {
	return e.progress(ctx, path, version, secret.ProgressTo)
}

// ConsumersBack says how far the consumers of path have gone back to version, after a
// rotation that failed: who has a newer one has not. It is otherwise as ConsumersMoved.
func (e *Engine) ConsumersBack(ctx context.Context, path secret.Path, version int64) (secret.Progress, error) {
	return e.progress(ctx, path, version, secret.ProgressBack)
}

func (e *Engine) progress(
	ctx context.Context, path secret.Path, version int64, of func(int64, []secret.Consumer) secret.Progress,
) (secret.Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	found, _, err := e.consumersOf(ctx, path)
	if err != nil {
		return secret.Progress{}, fmt.Errorf("look at the consumers of %s: %w", path, err)
	}
	return of(version, found), nil
}

// consumersOf lists the consumers of path. The finding is that of the audit log, with
// secret.ErrTampered.
func (e *Engine) consumersOf(ctx context.Context, path secret.Path) (_ []secret.Consumer, finding string, err error) {
	clusters, err := e.store.Consumers(ctx, path.String())
	if err != nil {
		return nil, "", err
	}
	var found []secret.Consumer
	for i := range clusters {
		if !e.verifyCluster(&clusters[i]) {
			return nil, ruleConsumerMAC, fmt.Errorf("%w, cluster %q; its operator puts it right within some minutes", errConsumerMAC, clusters[i].Cluster)
		}
		for j := range clusters[i].Rows {
			found = append(found, consumerOf(&clusters[i].Rows[j]))
		}
	}
	now := e.now()
	readers, err := e.store.Readers(ctx, path.String(), now.Add(-e.readersHold()))
	if err != nil {
		return nil, "", err
	}
	for i := range readers {
		if !e.verifyReader(&readers[i]) {
			return nil, ruleReaderMAC, errReaderMAC
		}
	}
	found = append(found, readersHolding(readers, now)...)
	slices.SortFunc(found, secret.CompareConsumers)
	return found, "", nil
}

// verifyCluster looks at all rows of a cluster, by their MACs, and at those that are there.
func (e *Engine) verifyCluster(c *store.ClusterConsumers) bool {
	_, forged := e.splitForged(c.Rows)
	return len(forged) == 0 && e.verifyConsumerSet(c.Cluster, c.Set, c.MACs)
}

func consumerOf(c *store.Consumer) secret.Consumer {
	return secret.Consumer{
		Kind: secret.ConsumerKind(c.Kind), Cluster: c.Cluster, Namespace: c.Namespace, Name: c.Name, UID: c.UID, Version: c.Version,
		Workloads: int(c.Workloads), Rolled: int(c.Rolled), State: c.State, Since: c.Since.UTC(), SeenAt: c.SeenAt.UTC(),
	}
}

// readersHold is how long a read counts that was written down.
func (e *Engine) readersHold() time.Duration { return e.readerWindow + readerGrain }

// readersHolding are the readers that still have what they read, at now: each the version
// that it read last, and those that it read lately enough for a cache to have them.
func readersHolding(readers []store.Reader, now time.Time) []secret.Consumer {
	slices.SortFunc(readers, func(a, b store.Reader) int { return b.ReadAt.Compare(a.ReadAt) })
	seen := map[store.ReaderKey]bool{} // with versions, and without
	var found []secret.Consumer
	for _, r := range readers {
		if seen[r.ReaderKey] {
			continue // by another writer
		}
		seen[r.ReaderKey] = true
		who, state := ofAnyVersion(r.ReaderKey), secret.StateReading
		if seen[who] {
			if now.Sub(r.ReadAt) > secret.MaxCacheAge+readerGrain {
				continue
			}
			state = secret.StateCached
		}
		seen[who] = true
		found = append(found, secret.Consumer{
			Kind: secret.ConsumerKind(r.CallerKind), Cluster: r.Cluster, Namespace: r.Namespace, Name: readerName(&r), Version: r.Version,
			State: state, Since: r.ReadAt.UTC(), SeenAt: r.ReadAt.UTC(),
		})
	}
	return found
}

// readerName is the name in secret.Caller's String.
func readerName(r *store.Reader) string {
	if r.CallerKind == string(secret.KindServiceAccount) {
		return strings.TrimPrefix(r.Caller, r.Namespace+"/")
	}
	return strings.TrimPrefix(r.Caller, "user:")
}
