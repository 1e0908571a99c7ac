package store

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

const insertAudit = `INSERT INTO audit (cluster, caller_kind, caller, namespace, caller_uid, environment, action, path,
	version, decision, rule, address, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`

func auditColumns(e *audit.Entry) []any {
	return []any{
		e.Cluster, e.CallerKind, e.Caller, e.Namespace, e.CallerUID, e.Environment, string(e.Action), e.Path,
		e.Version, string(e.Decision), e.Rule, e.Address, e.RequestID,
	}
}

// InsertAudit writes e, without ID and At, which the database gives, in its own
// transaction. When it returns nil the row is durable.
func (s *Store) InsertAudit(ctx context.Context, e *audit.Entry) error {
	_, err := s.pool.Exec(ctx, insertAudit, auditColumns(e)...)
	return translate("write the audit log", err)
}

// InsertAudit writes e in the transaction.
func (t *Tx) InsertAudit(e *audit.Entry) { t.batch.Queue(insertAudit, auditColumns(e)...) }

// starts_with uses no index; the range does.
const queryAudit = `SELECT id, at, cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version,
	decision, rule, address, request_id FROM audit
	WHERE ($1 = '' OR (path >= $1 AND path <= $2))
		AND ($3 = '' OR caller = $3)
		AND ($4 = '' OR action = $4)
		AND ($5 = '' OR decision = $5)
		AND ($6::timestamptz IS NULL OR at >= $6)
		AND ($7::timestamptz IS NULL OR at < $7)
		AND ($8 = 0 OR id < $8)
	ORDER BY id DESC LIMIT $9`

// lastRune sorts after all that a path can hold.
const lastRune = "\U0010FFFF"

// Audit reads the entries that q selects, newest first.
func (s *Store) Audit(ctx context.Context, q audit.Query) ([]audit.Entry, error) {
	last := q.PathPrefix // a path: itself only
	if strings.HasSuffix(last, "/") {
		last += lastRune
	}
	rows, err := s.pool.Query(ctx, queryAudit, q.PathPrefix, last, q.Caller, string(q.Action), string(q.Decision),
		orNull(q.Since), orNull(q.Until), q.Before, q.Limit)
	if err != nil {
		return nil, translate("read the audit log", err)
	}
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e audit.Entry, err error) {
		err = row.Scan(&e.ID, &e.At, &e.Cluster, &e.CallerKind, &e.Caller, &e.Namespace, &e.CallerUID, &e.Environment,
			&e.Action, &e.Path, &e.Version, &e.Decision, &e.Rule, &e.Address, &e.RequestID)
		return e, err
	})
	return entries, translate("read the audit log", err)
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
