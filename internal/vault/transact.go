package vault

import (
	"context"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// transact runs f, the writes of one action, in one transaction, with the audit rows that f gives to record:
// the change and the rows about it are durable together, or neither is. It flushes
// what f left to write. f may run again when its transaction lost a race, so it must
// have no effect outside of it.
func (e *Engine) transact(ctx context.Context, action audit.Action, f func(tx *store.Tx, record func(audit.Entry)) error) error {
	operation := string(action)
	failpoint.Hit(operation, failpoint.Begun)
	err := e.store.InTx(ctx, func(tx *store.Tx) error {
		err := f(tx, func(entry audit.Entry) { tx.InsertAudit(&entry) })
		if err != nil {
			return err
		}
		if err := tx.Flush(ctx); err != nil {
			return err
		}
		failpoint.Hit(operation, failpoint.BeforeCommit)
		return nil
	})
	if err == nil {
		failpoint.Hit(operation, failpoint.AfterCommit)
	}
	return err
}
