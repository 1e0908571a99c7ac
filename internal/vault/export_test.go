package vault

import (
	"context"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// What an engine does from the side, for tests to do it when they want.

// Anchor writes an anchor now, and returns how many heads moved.
func Anchor(ctx context.Context, e *Engine) (int, error) {
	moved, err := e.anchor(ctx)
	return len(moved), err
}

// FlushAudit makes entries durable, in the goroutine of who calls it.
func FlushAudit(e *Engine, entries ...audit.Entry) error { return e.flushAudit(entries) }

// StartTail begins to print audit rows; the returned function ends that.
func StartTail(ctx context.Context, e *Engine) func() { return e.startTail(ctx) }

// Prune removes what is too old, each within a time.
func Prune(ctx context.Context, e *Engine, within time.Duration) { e.pruneOnce(ctx, within) }

// CheckExported compares the database with the exported heads.
func CheckExported(ctx context.Context, e *Engine) error { return e.checkExported(ctx) }

// RewriteRun replaces the record of the run of a path that has not ended, as an engine of another version may have written it.
func RewriteRun(ctx context.Context, e *Engine, path string, rewrite func(record []byte) []byte) error {
	return e.transact(ctx, audit.RotationStep, func(tx *store.Tx, _ func(audit.Entry)) error {
		row, err := tx.LockRotationRun(ctx, path)
		if err != nil {
			return err
		}
		row.Record, row.Revision = rewrite(row.Record), row.Revision+1
		row.MAC = e.runMAC(row)
		tx.ChangeRotationRun(row)
		return nil
	})
}
