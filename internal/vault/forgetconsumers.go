package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

var consumersPart = secret.System("consumers")

// ForgottenConsumers says what was acknowledged of a cluster and is forgotten, or would be.
type ForgottenConsumers struct {
	// Consumers are VaultSecrets, and Paths those of which they had a version.
	Consumers, Paths int
	// SeenAt is when the cluster's operator last told of a change; zero when nothing is known of the cluster.
	SeenAt time.Time
}

// ForgetConsumers removes all that the operator of a cluster acknowledged: for a cluster that is no more, whose VaultSecrets would have
// their versions for ever, and be waited for by every rotation. With dryRun it removes nothing. An operator that is still there
// acknowledges all anew within some minutes. Who read over the API stays for Options.ReaderWindow. It needs the delete capability on
// sys/consumers.
//
// Errors: secret.ErrInvalid (no name of a cluster, or that of the caller's own, whose operator is there), secret.ErrDenied,
// secret.ErrTampered (of the policies; what is stored of the consumers is removed all the same), secret.ErrUnavailable.
func (e *Engine) ForgetConsumers(ctx context.Context, caller secret.Caller, cluster string, dryRun bool) (_ ForgottenConsumers, err error) {
	ctx, done := e.begin(ctx, audit.ConsumersForget)
	defer func() { done(err) }()
	if _, err := consumerRowsOf(cluster, nil); err != nil {
		return ForgottenConsumers{}, err
	}
	if err := e.admit(ctx, caller, audit.ConsumersForget, consumersPart, policy.Delete); err != nil {
		return ForgottenConsumers{}, err
	}
	r := request{caller: caller, action: audit.ConsumersForget, ref: secret.Ref{Path: consumersPart}}
	if cluster == caller.Cluster {
		return ForgottenConsumers{}, e.record(ctx, r.fail(fmt.Errorf(
			"%w: cluster %q is the one that you ask in, and its operator is there; ask in another cluster", secret.ErrInvalid, cluster), ruleNotPossible))
	}
	var forgotten ForgottenConsumers
	err = e.transact(ctx, audit.ConsumersForget, func(tx *store.Tx, record func(audit.Entry)) error {
		set, err := tx.LockConsumers(ctx, cluster)
		if err != nil {
			return err
		}
		stored, err := tx.AllConsumers(ctx, cluster)
		if err != nil {
			return err
		}
		forgotten = forgettingOf(stored)
		if dryRun || len(stored) == 0 && e.verifyConsumerSet(cluster, set, nil) {
			return nil
		}
		if _, forged := e.splitForged(stored); len(forged) > 0 || !e.verifyConsumerSet(cluster, set, macsOf(stored)) {
			record(r.entry(audit.Failed, ruleConsumerMAC+" and are removed"))
		}
		record(r.entry(audit.Allowed, fmt.Sprintf("forgot %d consumers of %d paths in cluster %q", forgotten.Consumers, forgotten.Paths, cluster)))
		e.saveConsumers(tx, cluster, set, nil, consumersChange{removed: keysOf(stored)})
		return nil
	})
	if err != nil {
		return ForgottenConsumers{}, fmt.Errorf("forget the consumers of cluster %q: %w", cluster, err)
	}
	return forgotten, nil
}

func forgettingOf(rows []store.Consumer) ForgottenConsumers {
	var f ForgottenConsumers
	consumers, paths := map[store.ConsumerKey]bool{}, map[string]bool{}
	for i := range rows {
		who := rows[i].ConsumerKey
		paths[who.Path] = true
		who.Path = ""
		consumers[who] = true
		if seen := rows[i].SeenAt; seen.After(f.SeenAt) {
			f.SeenAt = seen.UTC()
		}
	}
	f.Consumers, f.Paths = len(consumers), len(paths)
	return f
}

func keysOf(rows []store.Consumer) []store.ConsumerKey {
	keys := make([]store.ConsumerKey, len(rows))
	for i := range rows {
		keys[i] = rows[i].ConsumerKey
	}
	return keys
}
