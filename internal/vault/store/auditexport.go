package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// One statement, so one snapshot: the highest id is that of the rows that the heads count.
const queryAuditMoment = `SELECT coalesce((SELECT max(id) FROM audit), 0), w.writer, w.seq
	FROM (SELECT) AS one LEFT JOIN audit_writers w ON true`

// AuditMoment reads how many rows each writer has, and the highest id.
func (s *Store) AuditMoment(ctx context.Context) (moment audit.Moment, end int64, err error) {
	moment = audit.Moment{}
	rows, err := s.pool.Query(ctx, queryAuditMoment)
	if err != nil {
		return nil, 0, translate("read the heads of the audit log", err)
	}
	var (
		writer *uuid.UUID
		seq    *int64
	)
	_, err = pgx.ForEachRow(rows, []any{&end, &writer, &seq}, func() error {
		if writer != nil {
			moment[*writer] = *seq
		}
		return nil
	})
	return moment, end, translate("read the heads of the audit log", err)
}

// AuditRange returns ids between which all rows of the times since (inclusive) to until (exclusive) are:
// above from and up to to. A zero time is none, which leaves from 0 and to end.
func (s *Store) AuditRange(ctx context.Context, since, until time.Time, end int64) (from, to int64, err error) {
	to = end
	if !since.IsZero() {
		const first = `SELECT coalesce((SELECT id - 1 FROM audit WHERE at >= $1 ORDER BY id LIMIT 1), $2)`
		if err := s.pool.QueryRow(ctx, first, since, end).Scan(&from); err != nil {
			return 0, 0, translate("read the audit log", err)
		}
	}
	if !until.IsZero() {
		const last = `SELECT coalesce((SELECT id FROM audit WHERE at < $1 ORDER BY id DESC LIMIT 1), 0)`
		if err := s.pool.QueryRow(ctx, last, until).Scan(&to); err != nil {
			return 0, 0, translate("read the audit log", err)
		}
	}
	return from, min(to, end), nil
}

const rowColumns = auditColumns + `, heads, writer, seq, previous, mac`

// AuditUpwards reads up to limit rows with ids above after and up to end, in the order of ids.
func (s *Store) AuditUpwards(ctx context.Context, after, end int64, limit int) ([]audit.Row, error) {
	return s.auditRows(ctx, `SELECT `+rowColumns+` FROM audit WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3`, after, end, limit)
}

// AuditDownwards reads up to limit rows with ids below before, the highest id first.
func (s *Store) AuditDownwards(ctx context.Context, before int64, limit int) ([]audit.Row, error) {
	return s.auditRows(ctx, `SELECT `+rowColumns+` FROM audit WHERE id < $1 AND id > 0 ORDER BY id DESC LIMIT $2`, before, limit)
}

// AuditOfWriters reads up to limit rows of writers with ids above after, in the order of ids.
func (s *Store) AuditOfWriters(ctx context.Context, writers []uuid.UUID, after int64, limit int) ([]audit.Row, error) {
	return s.auditRows(ctx, `SELECT `+rowColumns+` FROM audit WHERE writer = ANY ($1) AND id > $2 ORDER BY id LIMIT $3`, writers, after, limit)
}

func (s *Store) auditRows(ctx context.Context, sql string, arguments ...any) ([]audit.Row, error) {
	rows, err := s.pool.Query(ctx, sql, arguments...)
	if err != nil {
		return nil, translate("read the audit log", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r audit.Row, err error) {
		err = row.Scan(append(entryFields(&r.Entry), &r.Heads, &r.Writer, &r.Seq, &r.Previous, &r.MAC)...)
		return r, err
	})
	return found, translate("read the audit log", err)
}
