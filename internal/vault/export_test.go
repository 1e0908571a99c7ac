package vault

import (
	"context"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
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

// LeakReportOf is LeakReport of so many rows of the audit log at most, by no caller.
func LeakReportOf(ctx context.Context, e *Engine, report LeakReport, most int) (LeakReport, error) {
	err := e.searchLeak(ctx, &report, most)
	return report, err
}
