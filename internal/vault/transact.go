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
// the change and the rows about it are durable together, or neither is. It flushes
// what f left to write. f may run again when its transaction lost a race, so it must
// have no effect outside of it. It also runs again, with a newer keyset, when it wrote
// a version under a key that was destroyed since this replica last looked.
func (e *Engine) transact(ctx context.Context, action audit.Action, f func(tx *store.Tx, record func(audit.Entry)) error) error {
	operation := string(action)
	failpoint.Hit(operation, failpoint.Begun)
	run := func(tx *store.Tx) error {
		err := f(tx, func(entry audit.Entry) { tx.InsertAudit(&entry) })
		if err != nil {
			return err
		}
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		failpoint.Hit(operation, failpoint.BeforeCommit)
		return nil
	}
	err := e.store.InTx(ctx, run)
	for range keyReloads {
		if !errors.Is(err, store.ErrKeyGone) {
			break
		}
		if err := e.keyring.Reload(ctx); err != nil {
			return err
		}
		err = e.store.InTx(ctx, run)
	}
	if err == nil {
		failpoint.Hit(operation, failpoint.AfterCommit)
	}
	return err
}
