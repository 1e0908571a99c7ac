package vault

import (
	"context"
	"errors"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// auditFlush is the failpoints' name of the group commit.
const auditFlush = "audit-flush"

// flushAudit makes entries durable in one transaction, as rows of one writer, and with them
// who reads what. It is the committer's.
func (e *Engine) flushAudit(entries []audit.Entry) error {
	ctx, cancel := context.WithTimeout(context.Background(), operationTimeout)
	defer cancel()
	var readers []store.Reader
	var rows auditRows
	err := rows.settle(e, func() error {
		rows.take(e)
		ids, err := e.store.ReserveAuditIDs(ctx, len(entries))
		if err != nil {
			return err
		}
		rows.rows = e.link(*rows.lane, ids, "", entries)
		readers = e.readersDue(entries, rows.lane.Writer)
		failpoint.Hit(auditFlush, failpoint.BeforeCommit)
		return e.store.AppendAudit(ctx, rows.rows, e.chain.Seal(rows.head()), readers...)
	})
	if err == nil {
		e.readers.written(readers)
		failpoint.Hit(auditFlush, failpoint.AfterCommit)
		e.unanchored.Store(true)
	}
	return err
}

// link makes entries the rows that follow lane's head; heads is that of an anchor.
func (e *Engine) link(lane audit.Head, ids []int64, heads string, entries []audit.Entry) []audit.Row {
	rows := make([]audit.Row, len(entries))
	for i := range entries {
		row := &rows[i]
		row.Entry = entries[i]
		row.ID, row.Heads = ids[i], heads
		e.chain.Link(lane, row)
		lane = row.Head()
	}
	return rows
}

// settle gives lane back after a transaction that wrote rows, if any, and says to the tail what
// became of them. A later transaction has the lane only after that, so the tail hears of its rows in their order.
func (e *Engine) settle(lane audit.Head, rows []audit.Row, err error) {
	switch {
	case err == nil:
		e.tail.Durable(rows)
		if len(rows) > 0 {
			lane = rows[len(rows)-1].Head()
		}
		e.lanes.Return(lane)
	case errors.Is(err, store.ErrOutcomeUnknown):
		e.tail.Unsure(rows)
	default:
		e.lanes.Return(lane)
	}
}
