package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// OverdueNotice says of which path was told that it is overdue.
type OverdueNotice struct {
	Path   string
	DueAt  time.Time
	ToldAt time.Time
	// Times counts how often, since DueAt is what it is.
	Times int
}

// OverdueNotices are all of them.
func (s *Store) OverdueNotices(ctx context.Context) ([]OverdueNotice, error) {
	rows, err := s.pool.Query(ctx, `SELECT path, due_at, told_at, times FROM overdue_notices`)
	if err != nil {
		return nil, translate("read what was told of overdue secrets", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[OverdueNotice])
	return found, translate("read what was told of overdue secrets", err)
}

// WriteOverdueNotice writes n in place of before, nil for none. It reports false, and writes nothing, when another has done so.
func (t *Tx) WriteOverdueNotice(ctx context.Context, n OverdueNotice, before *OverdueNotice) (bool, error) {
	was := OverdueNotice{}
	if before != nil {
		was = *before
	}
	var path string
	err := t.tx.QueryRow(ctx, `INSERT INTO overdue_notices AS o (path, due_at, told_at, times) VALUES ($1, $2, $3, $4)
		ON CONFLICT (path) DO UPDATE SET due_at = excluded.due_at, told_at = excluded.told_at, times = excluded.times
			WHERE o.due_at = $5 AND o.told_at = $6 AND o.times = $7
		RETURNING path`, n.Path, n.DueAt, n.ToldAt, n.Times, was.DueAt, was.ToldAt, was.Times).Scan(&path)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	return err == nil, translate("write what was told of overdue secrets", err)
}

// RemoveOverdueNotices removes those of paths.
func (s *Store) RemoveOverdueNotices(ctx context.Context, paths []string) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM overdue_notices WHERE path = ANY ($1)`, paths)
	return translate("forget what was told of overdue secrets", err)
}
