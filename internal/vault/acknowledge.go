package vault

import (
	"context"
	"fmt"
	"slices"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// acknowledger is who says which consumers a cluster has: its operator, by no token.
var acknowledger = secret.Caller{Kind: secret.KindSystem, Name: "acknowledgement", Address: secret.OperatorAddress}

var errConsumerMAC = fmt.Errorf("%w: what is stored of the consumers of a cluster was changed", secret.ErrTampered)

// acknowledging compares wanted with what is stored, and writes what differs. set is what
// holds that together, nil when nothing was acknowledged yet.
type acknowledging func(ctx context.Context, tx *store.Tx, set *store.ConsumerSet, wanted consumerRows, record func(audit.Entry)) error

// Acknowledge replaces what is known of the consumers that batch names: what one does not
// name any more it has not. It is for the operator of cluster, which no token can name.
// When nothing differs nothing is written.
//
// Errors: secret.ErrTampered when what is stored was changed, which AcknowledgeAll puts
// right; secret.ErrInvalid, secret.ErrUnavailable.
func (e *Engine) Acknowledge(ctx context.Context, cluster string, batch []secret.Acknowledgement) error {
	return e.acknowledge(ctx, cluster, batch, func(ctx context.Context, tx *store.Tx, set *store.ConsumerSet, wanted consumerRows, _ func(audit.Entry)) error {
		stored, err := tx.NamedConsumers(ctx, cluster, consumerNames(batch))
		if err != nil {
			return err
		}
		change := e.consumersDiffer(stored, wanted)
		if change.isNone() {
			return nil
		}
		macs, err := tx.ConsumerMACs(ctx, cluster)
		if err != nil {
			return err
		}
		if _, forged := e.splitForged(stored); len(forged) > 0 || !e.verifyConsumerSet(cluster, set, macs) {
			return fmt.Errorf("%w; acknowledge all of them anew", errConsumerMAC)
		}
		e.saveConsumers(tx, cluster, set, macs, change)
		return nil
	})
}

// AcknowledgeAll makes all the consumers that there are in namespaces of cluster, in every
// namespace when it is nil: those that are not named have nothing any more. It also looks
// whether what is stored is what was acknowledged, and puts it right, which the audit log
// tells. When nothing differs nothing is written.
//
// Errors: secret.ErrInvalid, secret.ErrUnavailable.
func (e *Engine) AcknowledgeAll(ctx context.Context, cluster string, namespaces []string, all []secret.Acknowledgement) error {
	return e.acknowledge(ctx, cluster, all, func(ctx context.Context, tx *store.Tx, set *store.ConsumerSet, wanted consumerRows, record func(audit.Entry)) error {
		stored, err := tx.AllConsumers(ctx, cluster)
		if err != nil {
			return err
		}
		intact := e.verifyConsumerSet(cluster, set, macsOf(stored))
		stored, forged := e.splitForged(stored)
		change := e.consumersDiffer(within(namespaces, stored), wanted)
		for _, row := range forged {
			if _, comes := wanted[row.ConsumerKey]; !comes {
				change.removed = append(change.removed, row.ConsumerKey)
			}
		}
		switch {
		case len(forged) > 0 || !intact:
			caller := acknowledger
			caller.Cluster = cluster
			record(newEntry(caller, audit.Acknowledge, "", 0, audit.Failed, ruleConsumerMAC+" and are replaced"))
			e.logger.ErrorContext(ctx, "the stored acknowledgements are replaced", "finding", ruleConsumerMAC, "cluster", cluster)
		case set != nil && change.isNone():
			return nil
		}
		e.saveConsumers(tx, cluster, set, macsOf(stored), change)
		return nil
	})
}

// acknowledge runs f in a transaction that holds what is stored of the cluster's consumers.
func (e *Engine) acknowledge(ctx context.Context, cluster string, given []secret.Acknowledgement, f acknowledging) (err error) {
	ctx, done := e.begin(ctx, audit.Acknowledge)
	defer func() { done(err) }()
	wanted, err := consumerRowsOf(cluster, given)
	if err != nil {
		return err
	}
	err = e.transact(ctx, audit.Acknowledge, func(tx *store.Tx, record func(audit.Entry)) error {
		set, err := tx.LockConsumers(ctx, cluster)
		if err != nil {
			return err
		}
		return f(ctx, tx, set, wanted, record)
	})
	if err != nil {
		return fmt.Errorf("acknowledge the consumers of cluster %q: %w", cluster, err)
	}
	return nil
}

// consumersChange is what is to be written: rows that come, in place of others or not, and
// rows that go.
type consumersChange struct {
	put     []store.Consumer
	removed []store.ConsumerKey
	// replaced are the MACs of all rows that are not there any more.
	replaced map[string]bool
}

func (c *consumersChange) isNone() bool { return len(c.put) == 0 && len(c.removed) == 0 }

// consumersDiffer compares stored rows with those that are wanted in their place.
func (e *Engine) consumersDiffer(stored []store.Consumer, wanted consumerRows) consumersChange {
	change := consumersChange{replaced: map[string]bool{}}
	now := e.now()
	known := make(consumerRows, len(stored))
	for _, row := range stored {
		known[row.ConsumerKey] = row
		if _, stays := wanted[row.ConsumerKey]; !stays {
			change.removed = append(change.removed, row.ConsumerKey)
			change.replaced[string(row.MAC)] = true
		}
	}
	for key, row := range wanted {
		row.Since, row.SeenAt = now, now
		if before, there := known[key]; there {
			if sameConsumer(&before, &row) {
				continue
			}
			change.replaced[string(before.MAC)] = true
			if before.UID == row.UID && before.Version == row.Version && before.State == row.State {
				row.Since = before.Since
			}
		}
		row.MAC = e.consumerMAC(&row)
		change.put = append(change.put, row)
	}
	return change
}

// sameConsumer compares what is acknowledged of rows of one key.
func sameConsumer(a, b *store.Consumer) bool {
	return a.UID == b.UID && a.Version == b.Version && a.Workloads == b.Workloads && a.Rolled == b.Rolled && a.State == b.State
}

// splitForged tells rows that verify from those that do not.
func (e *Engine) splitForged(rows []store.Consumer) (intact, forged []store.Consumer) {
	for i := range rows {
		if e.verifyConsumer(&rows[i]) {
			intact = append(intact, rows[i])
		} else {
			forged = append(forged, rows[i])
		}
	}
	return intact, forged
}

// within are the rows in namespaces; all when it is nil.
func within(namespaces []string, rows []store.Consumer) []store.Consumer {
	if namespaces == nil {
		return rows
	}
	var found []store.Consumer
	for _, row := range rows {
		if slices.Contains(namespaces, row.Namespace) {
			found = append(found, row)
		}
	}
	return found
}

func macsOf(rows []store.Consumer) []store.ConsumerMAC {
	macs := make([]store.ConsumerMAC, len(rows))
	for i := range rows {
		macs[i] = store.ConsumerMAC{MAC: rows[i].MAC, Path: rows[i].Path}
	}
	return macs
}

// saveConsumers writes change. macs are those of the cluster's rows before it.
func (e *Engine) saveConsumers(tx *store.Tx, cluster string, set *store.ConsumerSet, macs []store.ConsumerMAC, change consumersChange) {
	next := store.ConsumerSet{Revision: 1}
	if set != nil {
		next.Revision = set.Revision + 1
	}
	macs = slices.DeleteFunc(macs, func(row store.ConsumerMAC) bool { return change.replaced[string(row.MAC)] })
	next.MAC = e.consumerSetMAC(cluster, next.Revision, append(macs, macsOf(change.put)...))
	tx.SaveConsumers(cluster, change.removed, change.put, next)
}
