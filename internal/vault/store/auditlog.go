package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// auditColumns are those of audit.Entry, in the order of scanEntry.
const auditColumns = `id, at, cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version,
	decision, rule, address, request_id`

func entryFields(e *audit.Entry) []any {
	return []any{
		&e.ID, &e.At, &e.Cluster, &e.CallerKind, &e.Caller, &e.Namespace, &e.CallerUID, &e.Environment,
		&e.Action, &e.Path, &e.Version, &e.Decision, &e.Rule, &e.Address, &e.RequestID,
	}
}

// lastRune sorts after all that a path can hold.
const lastRune = "\U0010FFFF"

// auditFilter is the WHERE of a search and its arguments. It has only the conditions
// that there are: a plan for all cases would use no index.
type auditFilter struct {
	conditions []string
	arguments  []any
}

// add adds a condition with one placeholder, written as %s.
func (f *auditFilter) add(condition string, argument any) {
	f.arguments = append(f.arguments, argument)
	f.conditions = append(f.conditions, fmt.Sprintf(condition, "$"+strconv.Itoa(len(f.arguments))))
}

// literal adds a condition that the planner compares with that of a partial index.
func (f *auditFilter) literal(condition string) { f.conditions = append(f.conditions, condition) }

func filterOf(q audit.Query) auditFilter {
	var f auditFilter
	switch {
	case strings.HasSuffix(q.PathPrefix, "/"): // starts_with uses no index; a range does
		f.add("path >= %s", q.PathPrefix)
		f.add("path <= %s", q.PathPrefix+lastRune)
	case q.PathPrefix != "":
		f.add("path = %s", q.PathPrefix)
	}
	if q.Caller != "" {
		f.add("caller = %s", q.Caller)
	}
	switch q.Action {
	case "":
		f.literal("action <> 'anchor'")
	case audit.Read, audit.Metadata, audit.List:
		f.add("action = %s", string(q.Action))
	default:
		f.literal("action NOT IN ('read', 'metadata', 'list')")
		f.add("action = %s", string(q.Action))
	}
	if q.Decision != "" {
		if q.Decision != audit.Allowed {
			f.literal("decision <> 'allowed'")
		}
		f.add("decision = %s", string(q.Decision))
	}
	if !q.Since.IsZero() {
		f.add("at >= %s", q.Since)
	}
	if !q.Until.IsZero() {
		f.add("at < %s", q.Until)
	}
	if q.Before != 0 {
		f.add("id < %s", q.Before)
	}
	return f
}

// Audit reads the entries that q selects, newest first.
func (s *Store) Audit(ctx context.Context, q audit.Query) ([]audit.Entry, error) {
	f := filterOf(q)
	sql := "SELECT " + auditColumns + " FROM audit WHERE " + strings.Join(f.conditions, " AND ") +
		" ORDER BY id DESC LIMIT " + strconv.Itoa(q.Limit)
	rows, err := s.pool.Query(ctx, sql, f.arguments...)
	if err != nil {
		return nil, translate("read the audit log", err)
	}
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e audit.Entry, err error) {
		err = row.Scan(entryFields(&e)...)
		return e, err
	})
	return entries, translate("read the audit log", err)
}

// AuditOfLeak reads up to limit rows of the times since on that say who read a path, or was refused something there, with ids below
// before, the highest id first.
func (s *Store) AuditOfLeak(ctx context.Context, path string, since time.Time, before int64, limit int) ([]audit.Row, error) {
	return s.auditRows(ctx, `SELECT `+auditRowColumns+` FROM audit
		WHERE path = $1 AND at >= $2 AND id < $3 AND (action = 'read' OR decision = 'denied') ORDER BY id DESC LIMIT $4`, path, since, before, limit)
}

// AuditBegins is when the oldest row of the log was written; zero when there is none.
func (s *Store) AuditBegins(ctx context.Context) (time.Time, error) {
	var at *time.Time
	if err := s.pool.QueryRow(ctx, `SELECT min(at) FROM audit`).Scan(&at); err != nil || at == nil {
		return time.Time{}, translate("read the audit log", err)
	}
	return at.UTC(), nil
}
