package vault

import (
	"context"
	"errors"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// keyReloads bounds how often a transaction runs again with a newer keyset. A reload
// may be one that began before the key was destroyed; the next began after.
const keyReloads = 3

// transact runs f, the writes of one action, in one transaction, with the audit rows that f gives to record:
// the change and the rows about it are durable together, or neither is. What f leaves
// to write goes with the commit. f may run again when its transaction lost a race, so it must
// have no effect outside of it. It also runs again, with a newer keyset, when it wrote
// a version under a key that was destroyed since this replica last looked.
//
// A caller that goes away ends what f still asks, and not the commit: one that is given up half way costs a lane, since
// nobody knows how it went.
func (e *Engine) transact(ctx context.Context, action audit.Action, f func(tx *store.Tx, record func(audit.Entry)) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()
	operation := string(action)
	failpoint.Hit(operation, failpoint.Begun)
	var rows auditRows
	err := rows.settle(e, func() error {
		return e.inTx(ctx, func(tx *store.Tx) error {
			rows.take(e) // before f draws ids: those of a lane must grow
			var entries []audit.Entry
			err := f(tx, func(entry audit.Entry) {
				entry.At = e.now()
				entries = append(entries, entry)
			})
			if err != nil {
				return err
			}
			if err := rows.append(ctx, e, tx, "", entries); err != nil {
				return err
			}
			if failpoint.Enabled { // there all is written before the commit
				if err := tx.Flush(ctx); err != nil {
					return err
				}
			}
			failpoint.Hit(operation, failpoint.BeforeCommit)
			return nil
		})
	})
	if err == nil {
		failpoint.Hit(operation, failpoint.AfterCommit)
		e.unanchored.Store(true)
	}
	return err
}

// inTx runs f in one transaction, and again with a newer keyset when it wrote under a key that is destroyed.
func (e *Engine) inTx(ctx context.Context, f func(*store.Tx) error) error {
	err := e.store.InTx(ctx, f)
	for range keyReloads {
		if !errors.Is(err, store.ErrKeyGone) {
			break
		}
		if err := e.keyring.Reload(ctx); err != nil {
			return err
		}
		err = e.store.InTx(ctx, f)
	}
	return err
}

// auditRows are the audit rows of one transaction, on a lane that is theirs until it
// is known how the commit went.
type auditRows struct {
	lane *audit.Head
	rows []audit.Row // none when there is nothing to say
}

// head is where the lane is when the rows are committed.
func (a *auditRows) head() audit.Head { return a.rows[len(a.rows)-1].Head() }

// take takes the lane, unless that is done, and forgets the rows of an attempt that lost a race.
func (a *auditRows) take(e *Engine) {
	if a.lane == nil {
		a.lane = new(e.lanes.Take())
	}
	a.rows = nil
}

// append links entries, with the heads of an anchor, to the lane, which is taken already.
func (a *auditRows) append(ctx context.Context, e *Engine, tx *store.Tx, heads string, entries []audit.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	ids, err := tx.ReserveAuditIDs(ctx, len(entries))
	if err != nil {
		return err
	}
	a.rows = e.link(*a.lane, ids, heads, entries)
	tx.AppendAudit(a.rows, e.chain.Seal(a.head()))
	return nil
}

// settle has commit take the lane and make its rows durable, and gives the lane back by how that went. How a commit went that
// ended in a panic is not known.
func (a *auditRows) settle(e *Engine, commit func() error) error {
	err := store.ErrOutcomeUnknown
	defer func() {
		if a.lane != nil {
			e.settle(*a.lane, a.rows, err)
		}
	}()
	err = commit()
	return err
}
