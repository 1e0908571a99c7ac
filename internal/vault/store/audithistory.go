package store

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// auditBatch is how many rows of the log are read at a time to verify or export it.
const auditBatch = 5000

// auditRowColumns are those of audit.Row, in the order of rowFields.
const auditRowColumns = auditColumns + `, heads, writer, seq, previous, mac`

func rowFields(r *audit.Row) []any {
	return append(entryFields(&r.Entry), &r.Heads, &r.Writer, &r.Seq, &r.Previous, &r.MAC)
}

// lockParts keeps partitions of the log from being moved or dropped until the transaction ends. Before the first query
// of a snapshot it makes sure that the snapshot is of the partitions that are read: those that were dropped later are
// gone for older snapshots too.
const lockParts = `LOCK TABLE audit IN ACCESS SHARE MODE`

// WalkAudit gives the checkpoints of the log to checkpoint, then every row to row, in the order of ids, and then the
// heads of the writers to heads, all as of one moment. It ends with the first error of row's. A row and what it points to are row's only until it returns.
func (s *Store) WalkAudit(ctx context.Context, checkpoint func(*audit.Row), row func(*audit.Row) error, heads func([]audit.StoredHead)) error {
	return s.readLong(ctx, "read the audit log", func(tx pgx.Tx) error {
		// The first query makes the snapshot.
		stored, err := readAuditHeads(ctx, tx, "")
		if err != nil {
			return err
		}
		checkpoints, err := readCheckpoints(ctx, tx)
		if err != nil {
			return err
		}
		for i := range checkpoints {
			checkpoint(&checkpoints[i])
		}
		if err := walk(ctx, tx, "audit", row); err != nil {
			return err
		}
		heads(stored)
		return nil
	})
}

// walk gives every row of a table to row, in the order of ids.
func walk(ctx context.Context, tx querier, table string, row func(*audit.Row) error) error {
	after := int64(-1) << 62
	for {
		n, err := walkBatch(ctx, tx, table, &after, row)
		if err != nil || n < auditBatch {
			return err
		}
	}
}

func walkBatch(ctx context.Context, tx querier, table string, after *int64, row func(*audit.Row) error) (n int, err error) {
	rows, err := tx.Query(ctx, `SELECT `+auditRowColumns+` FROM `+table+` WHERE id > $1 ORDER BY id LIMIT $2`, *after, auditBatch)
	if err != nil {
		return 0, translate("read the audit log", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r audit.Row
		if err := rows.Scan(rowFields(&r)...); err != nil {
			return n, translate("read the audit log", err)
		}
		*after = r.ID
		n++
		if err := row(&r); err != nil {
			return n, err
		}
	}
	return n, translate("read the audit log", rows.Err())
}

// UnanchoredHeads reads the heads of writers that went on since an anchor held them.
func (t *Tx) UnanchoredHeads(ctx context.Context) ([]audit.StoredHead, error) {
	return readAuditHeads(ctx, t.tx, `WHERE seq > anchored ORDER BY writer FOR UPDATE`)
}

// AuditHeads reads the heads of all writers.
func (s *Store) AuditHeads(ctx context.Context) ([]audit.StoredHead, error) {
	return readAuditHeads(ctx, s.pool, "")
}

// SetAnchored says that an anchor holds heads.
func (t *Tx) SetAnchored(heads []audit.Head) {
	for _, h := range heads {
		t.batch.Queue(`UPDATE audit_writers SET anchored = $2 WHERE writer = $1 AND anchored < $2`, h.Writer, h.Seq)
	}
}

func readAuditHeads(ctx context.Context, q querier, tail string) ([]audit.StoredHead, error) {
	rows, err := q.Query(ctx, `SELECT writer, seq, mac, seal, anchored FROM audit_writers `+tail)
	if err != nil {
		return nil, translate("read the heads of the audit log", err)
	}
	heads, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h audit.StoredHead, err error) {
		var writer uuid.UUID
		var mac []byte
		if err := row.Scan(&writer, &h.Seq, &mac, &h.Seal, &h.Anchored); err != nil {
			return h, err
		}
		h.Writer = writer
		if copy(h.MAC[:], mac) != audit.MACSize || len(mac) != audit.MACSize {
			h.Seal = nil // does not verify, whatever it says
		}
		return h, nil
	})
	return heads, translate("read the heads of the audit log", err)
}
