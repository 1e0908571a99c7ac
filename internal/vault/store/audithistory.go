package store

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// auditBatch is how many rows of the log are read at a time to verify or export it.
const auditBatch = 5000

const queryAuditRows = `SELECT ` + auditColumns + `, heads, writer, seq, previous, mac FROM audit WHERE id > $1 ORDER BY id LIMIT $2`

// WalkAudit gives every row of the log to row, in the order of ids, and then the heads of the writers to
// heads, all as of one moment. It ends with the first error of theirs. A row and what it points to are row's only until it returns.
func (s *Store) WalkAudit(ctx context.Context, row func(*audit.Row) error, heads func([]audit.StoredHead)) error {
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return translate("read the audit log", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	// The first statement makes the snapshot.
	stored, err := readAuditHeads(ctx, tx, "")
	if err != nil {
		return err
	}
	after := int64(-1) << 62
	for {
		n, err := walkBatch(ctx, tx, &after, row)
		if err != nil {
			return err
		}
		if n < auditBatch {
			break
		}
	}
	heads(stored)
	return nil
}

func walkBatch(ctx context.Context, tx pgx.Tx, after *int64, row func(*audit.Row) error) (n int, err error) {
	rows, err := tx.Query(ctx, queryAuditRows, *after, auditBatch)
	if err != nil {
		return 0, translate("read the audit log", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r audit.Row
		if err := rows.Scan(append(entryFields(&r.Entry), &r.Heads, &r.Writer, &r.Seq, &r.Previous, &r.MAC)...); err != nil {
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
