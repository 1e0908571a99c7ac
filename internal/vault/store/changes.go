package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// changesBatch bounds one read of the feed.
const changesBatch = 1000

// InsertChange writes c, without its Position and CommittedAt, which the database
// gives.
func (t *Tx) InsertChange(c changes.Change) {
	t.batch.Queue(`INSERT INTO changes (kind, path, version) VALUES ($1, $2, $3)`, string(c.Kind), c.Path.String(), c.Version)
}

const changeColumns = `pg_snapshot_xmin(pg_current_snapshot()) AS xmin, clock_timestamp() AS now, c.position, c.xid, c.written_at, c.kind, c.path, c.version`

// The left join gives the snapshot also when there is no row.
const queryChanges = `SELECT ` + changeColumns + ` FROM (SELECT) AS one
	LEFT JOIN (SELECT * FROM changes WHERE xid >= $1 AND position <> ALL ($2) ORDER BY position LIMIT $3) c ON true
	ORDER BY c.position`

const queryRecentChanges = `SELECT ` + changeColumns + ` FROM (SELECT) AS one
	LEFT JOIN changes c ON c.written_at > clock_timestamp() - $1::interval OR c.xid >= pg_snapshot_xmin(pg_current_snapshot())
	ORDER BY c.position`

// ReadChanges implements changes.Source.
func (s *Store) ReadChanges(ctx context.Context, horizon uint64, except []int64) (changes.Snapshot, error) {
	rows, err := s.pool.Query(ctx, queryChanges, horizon, except, changesBatch)
	if err != nil {
		return changes.Snapshot{}, translate("read the change feed", err)
	}
	snapshot, err := scanChanges(rows)
	snapshot.Truncated = len(snapshot.Rows) == changesBatch
	return snapshot, err
}

// ReadRecentChanges implements changes.Source.
func (s *Store) ReadRecentChanges(ctx context.Context, d time.Duration) (changes.Snapshot, error) {
	rows, err := s.pool.Query(ctx, queryRecentChanges, d)
	if err != nil {
		return changes.Snapshot{}, translate("read the change feed", err)
	}
	return scanChanges(rows)
}

func scanChanges(rows pgx.Rows) (changes.Snapshot, error) {
	var (
		snapshot   changes.Snapshot
		position   *int64
		xid        *uint64
		writtenAt  *time.Time
		kind, path *string
		version    *int64
	)
	_, err := pgx.ForEachRow(rows, []any{&snapshot.Xmin, &snapshot.Now, &position, &xid, &writtenAt, &kind, &path, &version}, func() error {
		if position == nil {
			return nil
		}
		row := changes.Row{XID: *xid, Change: changes.Change{
			Position: *position, Kind: changes.Kind(*kind), Version: *version, CommittedAt: *writtenAt,
		}}
		if *path != "" {
			var err error
			row.Path, err = secret.ParsePath(*path)
			row.Foreign = err != nil // the engine writes no such row, and one must not stop the feed
		}
		snapshot.Rows = append(snapshot.Rows, row)
		return nil
	})
	return snapshot, translate("read the change feed", err)
}

// PruneChanges removes changes older than keep. Followers start from now, so it
// only has to outlast their longest outage.
func (s *Store) PruneChanges(ctx context.Context, keep time.Duration) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM changes WHERE written_at < clock_timestamp() - $1::interval`, keep)
	return translate("prune the change feed", err)
}
