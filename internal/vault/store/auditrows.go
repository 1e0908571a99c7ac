package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// Ids are drawn with generate_subscripts because the planner does not know how many rows
// it has, and so plans once for all numbers.
const (
	reserveAuditIDs = `SELECT nextval('audit_id') FROM generate_subscripts($1::boolean[], 1)`
	reserveAuditID  = `SELECT nextval('audit_id')`
)

// ReserveAuditIDs returns n growing ids for rows of the audit log. An id that is not
// used is lost: ids have gaps.
func (s *Store) ReserveAuditIDs(ctx context.Context, n int) ([]int64, error) {
	return reserveIDs(ctx, s.pool, n)
}

// ReserveAuditIDs is that of Store, on the transaction's connection. The ids are of
// after the transaction began.
func (t *Tx) ReserveAuditIDs(ctx context.Context, n int) ([]int64, error) {
	if missing := n - len(t.ids); missing > 0 {
		ids, err := reserveIDs(ctx, t.tx, missing)
		if err != nil {
			return nil, err
		}
		t.ids = append(t.ids, ids...)
	}
	ids := t.ids[:n]
	t.ids = t.ids[n:]
	return ids, nil
}

// queueAuditID draws an id for ReserveAuditIDs in a round trip that is made anyway.
func (t *Tx) queueAuditID(batch *pgx.Batch) {
	batch.Queue(reserveAuditID).QueryRow(func(row pgx.Row) error {
		var id int64
		if err := row.Scan(&id); err != nil {
			return err
		}
		t.ids = append(t.ids, id)
		return nil
	})
}

func reserveIDs(ctx context.Context, q querier, n int) ([]int64, error) {
	rows, err := q.Query(ctx, reserveAuditIDs, make([]bool, n))
	if err != nil {
		return nil, translate("number the audit log", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	return ids, translate("number the audit log", err)
}

// AppendAudit writes rows, which are all of one writer and in its order, and the
// writer's new head with its seal, in one transaction of their own. When it returns
// nil they are durable, and so are readers, which are of that writer too. An error that wraps
// ErrOutcomeUnknown says that they may be.
func (s *Store) AppendAudit(ctx context.Context, rows []audit.Row, seal []byte, readers ...Reader) error {
	var err error
	for range maxAttempts {
		var batch pgx.Batch // one implicit transaction
		queueReaders(&batch, readers)
		queueAudit(&batch, rows, seal)
		if err = markUnknown(s.pool.SendBatch(ctx, &batch).Close()); !isRace(err) {
			break
		}
	}
	return translate("write the audit log", err)
}

// AppendAudit writes the rows and the head in the transaction.
func (t *Tx) AppendAudit(rows []audit.Row, seal []byte) { queueAudit(&t.batch, rows, seal) }

const (
	insertAudit = `INSERT INTO audit (writer, ` + auditColumns + `, heads, seq, previous, mac) `
	// insertAuditRow is for one row, as a write has: it costs half of the other.
	insertAuditRow  = insertAudit + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)`
	insertAuditRows = insertAudit + `SELECT $1::uuid, u.* FROM unnest($2::bigint[], $3::timestamptz[], $4::text[], $5::text[],
		$6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::text[],
		$15::text[], $16::text[], $17::text[], $18::bigint[], $19::bytea[], $20::bytea[]) u`
)

const saveAuditHead = `INSERT INTO audit_writers (writer, seq, mac, seal) VALUES ($1, $2, $3, $4)
	ON CONFLICT (writer) DO UPDATE SET seq = excluded.seq, mac = excluded.mac, seal = excluded.seal`

func queueAudit(batch *pgx.Batch, rows []audit.Row, seal []byte) {
	head := rows[len(rows)-1].Head()
	if len(rows) == 1 {
		batch.Queue(insertAuditRow, append([]any{head.Writer}, auditRow(&rows[0])...)...)
	} else {
		batch.Queue(insertAuditRows, append([]any{head.Writer}, auditArrays(rows)...)...)
	}
	batch.Queue(saveAuditHead, head.Writer, head.Seq, head.MAC[:], seal)
}

// auditRow are the columns of a row, in the order of insertAudit.
func auditRow(r *audit.Row) []any {
	return []any{
		r.ID, r.At, r.Cluster, r.CallerKind, r.Caller, r.Namespace, r.CallerUID, r.Environment, string(r.Action), r.Path, r.Version,
		string(r.Decision), r.Rule, r.Address, r.RequestID, r.Heads, r.Seq, r.Previous, r.MAC,
	}
}

// auditArrays are the rows by column, in the order of insertAudit.
func auditArrays(rows []audit.Row) []any {
	return []any{
		column(rows, func(r *audit.Row) int64 { return r.ID }),
		column(rows, func(r *audit.Row) time.Time { return r.At }),
		column(rows, func(r *audit.Row) string { return r.Cluster }),
		column(rows, func(r *audit.Row) string { return r.CallerKind }),
		column(rows, func(r *audit.Row) string { return r.Caller }),
		column(rows, func(r *audit.Row) string { return r.Namespace }),
		column(rows, func(r *audit.Row) string { return r.CallerUID }),
		column(rows, func(r *audit.Row) string { return r.Environment }),
		column(rows, func(r *audit.Row) string { return string(r.Action) }),
		column(rows, func(r *audit.Row) string { return r.Path }),
		column(rows, func(r *audit.Row) int64 { return r.Version }),
		column(rows, func(r *audit.Row) string { return string(r.Decision) }),
		column(rows, func(r *audit.Row) string { return r.Rule }),
		column(rows, func(r *audit.Row) string { return r.Address }),
		column(rows, func(r *audit.Row) string { return r.RequestID }),
		column(rows, func(r *audit.Row) string { return r.Heads }),
		column(rows, func(r *audit.Row) int64 { return r.Seq }),
		column(rows, func(r *audit.Row) []byte { return r.Previous }),
		column(rows, func(r *audit.Row) []byte { return r.MAC }),
	}
}

func column[R, T any](rows []R, field func(*R) T) []T {
	values := make([]T, len(rows))
	for i := range rows {
		values[i] = field(&rows[i])
	}
	return values
}
