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

// flushAudit makes entries durable in one transaction, as rows of one writer. It is
// the committer's.
func (e *Engine) flushAudit(entries []audit.Entry) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), operationTimeout)
	defer cancel()
	lane := e.lanes.Take()
	next := lane
	defer func() { e.settle(lane, next, err) }()
	ids, err := e.store.ReserveAuditIDs(ctx, len(entries))
	if err != nil {
		return err
	}
	rows := e.link(lane, ids, "", entries)
	next = rows[len(rows)-1].Head()
	failpoint.Hit(auditFlush, failpoint.BeforeCommit)
	if err = e.store.AppendAudit(ctx, rows, e.chain.Seal(next)); err == nil {
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

// settle gives a lane back after a transaction that began at head from and, when it
// was committed, ended at head to.
func (e *Engine) settle(from, to audit.Head, err error) {
	switch {
	case err == nil:
		e.lanes.Return(to)
	case !errors.Is(err, store.ErrOutcomeUnknown):
		e.lanes.Return(from)
	}
}
