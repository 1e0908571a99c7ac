package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// changesBatch bounds one read of the feed, but for the rows of its last transaction.
const changesBatch = 1000

// InsertChange writes c, without its Position and CommittedAt, which the database
// gives.
func (t *Tx) InsertChange(c changes.Change) {
	if c.Cluster == "" { // also in the schema of an old backup that is being restored
		t.batch.Queue(`INSERT INTO changes (kind, path, version) VALUES ($1, $2, $3)`, string(c.Kind), c.Path.String(), c.Version)
		return
	}
	t.batch.Queue(`INSERT INTO changes (kind, path, version, cluster) VALUES ($1, $2, $3, $4)`,
		string(c.Kind), c.Path.String(), c.Version, c.Cluster)
}

// ours selects rows that the transaction wrote which they name. Rows that a dump
// brought into this database name transactions of another one.
const ours = `c.xmin = c.xid::xid`

// removedBelow is how far rows were removed; 0 when by what a dump brought along, too.
const removedBelow = `coalesce((SELECT below FROM changes_removed WHERE below <= pg_snapshot_xmax(pg_current_snapshot())), '0'::xid8)`

// The left join gives the first columns also when there is no row. Each span is read
// along the index, in order.
const queryChanges = `SELECT pg_current_snapshot()::text, clock_timestamp(), ` + removedBelow + `,
		EXISTS (SELECT FROM changes c WHERE c.position = $1 AND c.xid = $2::text::xid8 AND c.written_at = $3 AND ` + ours + `),
		due.position, due.xid, due.written_at, due.kind, due.path, due.version, due.cluster
	FROM (SELECT) AS one
	LEFT JOIN (
		SELECT found.* FROM unnest($4::text[]::xid8[], $5::text[]::xid8[]) AS span (first, last)
		CROSS JOIN LATERAL (
			SELECT c.* FROM changes c WHERE c.xid BETWEEN span.first AND span.last AND ` + ours + `
			ORDER BY c.xid FETCH FIRST $6 ROWS WITH TIES) AS found
		ORDER BY found.xid FETCH FIRST $6 ROWS WITH TIES) AS due ON true
	ORDER BY due.xid, due.position`

// ReadChanges implements changes.Source.
func (s *Store) ReadChanges(ctx context.Context, at changes.Cursor) (changes.Snapshot, error) {
	witness := at.Witness()
	var firsts, lasts []string
	for _, span := range at.Due() {
		firsts, lasts = append(firsts, decimal(span.First)), append(lasts, decimal(span.Last))
	}
	rows, err := s.pool.Query(ctx, queryChanges, witness.Position, decimal(witness.XID), witness.WrittenAt, firsts, lasts, changesBatch)
	if err != nil {
		return changes.Snapshot{}, translate("read the change feed", err)
	}
	snapshot, err := scanChanges(rows)
	snapshot.Truncated = len(snapshot.Rows) >= changesBatch
	return snapshot, translate("read the change feed", err)
}

func decimal(xid uint64) string { return strconv.FormatUint(xid, 10) }

func scanChanges(rows pgx.Rows) (changes.Snapshot, error) {
	var (
		snapshot            changes.Snapshot
		state               string
		position            *int64
		xid                 *uint64
		writtenAt           *time.Time
		kind, path, cluster *string
		version             *int64
	)
	targets := []any{
		&state, &snapshot.Now, &snapshot.RemovedBelow, &snapshot.Witnessed,
		&position, &xid, &writtenAt, &kind, &path, &version, &cluster,
	}
	_, err := pgx.ForEachRow(rows, targets, func() error {
		if position == nil {
			return nil
		}
		row := changes.Row{XID: *xid, Change: changes.Change{
			Position: *position, Kind: changes.Kind(*kind), Version: *version, Cluster: *cluster, CommittedAt: *writtenAt,
		}}
		if *path != "" {
			var err error
			row.Path, err = secret.ParsePath(*path)
			row.Foreign = err != nil // the engine writes no such row, and one must not stop the feed
		}
		snapshot.Rows = append(snapshot.Rows, row)
		return nil
	})
	if err != nil {
		return changes.Snapshot{}, err
	}
	snapshot.InProgress, err = inProgress(state)
	return snapshot, err
}

// inProgress reads the list of a pg_snapshot: "xmin:xmax:id,id".
func inProgress(snapshot string) ([]uint64, error) {
	parts := strings.Split(snapshot, ":")
	if len(parts) != 3 {
		return nil, fmt.Errorf("the snapshot %q is not like xmin:xmax:list", snapshot)
	}
	if parts[2] == "" {
		return nil, nil
	}
	var ids []uint64
	for id := range strings.SplitSeq(parts[2], ",") {
		parsed, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the snapshot %q: %w", snapshot, err)
		}
		ids = append(ids, parsed)
	}
	return ids, nil
}

// Recent rows are looked up by their time first, and then taken by their order: there
// are fewer of them than of all rows.
const queryStart = `WITH recent AS MATERIALIZED (
		SELECT c.xid FROM changes c WHERE c.written_at > statement_timestamp() - $1::interval AND ` + ours + `)
	SELECT pg_current_snapshot()::text, ` + removedBelow + `, newest.position, newest.xid, newest.written_at
	FROM (SELECT) AS one
	LEFT JOIN (
		SELECT c.position, c.xid, c.written_at FROM changes c
		WHERE ` + ours + ` AND c.xid < coalesce((SELECT xid FROM recent ORDER BY xid LIMIT 1), '18446744073709551615'::xid8)
		ORDER BY c.xid DESC, c.position DESC LIMIT 1) AS newest ON true`

// StartChanges implements changes.Source.
func (s *Store) StartChanges(ctx context.Context, back time.Duration) (changes.Start, error) {
	var (
		start     changes.Start
		state     string
		position  *int64
		xid       *uint64
		writtenAt *time.Time
	)
	err := s.pool.QueryRow(ctx, queryStart, back).Scan(&state, &start.RemovedBelow, &position, &xid, &writtenAt)
	if err != nil {
		return changes.Start{}, translate("look at the change feed", err)
	}
	if position != nil {
		start.Newest = changes.Witness{Position: *position, XID: *xid, WrittenAt: *writtenAt}
	}
	start.InProgress, err = inProgress(state)
	return start, translate("look at the change feed", err)
}

// What is removed is all below one transaction id: below those still in progress,
// below every row younger than $1, and below the newest of the older rows, which
// positions given in the quiet time after it hold on to. A mark that a dump brought
// along means nothing here.
const pruneChanges = `WITH cut AS (
		SELECT xid FROM (
			SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid
			UNION ALL (SELECT xid FROM (SELECT c.xid FROM changes c WHERE c.written_at >= statement_timestamp() - $1::interval AND ` + ours + ` OFFSET 0) AS young
				ORDER BY xid LIMIT 1)
			UNION ALL (SELECT xid FROM (SELECT c.xid FROM changes c WHERE c.written_at < statement_timestamp() - $1::interval AND ` + ours + ` OFFSET 0) AS old
				ORDER BY xid DESC LIMIT 1)) AS bounds
		ORDER BY xid LIMIT 1),
	foreigners AS (
		DELETE FROM changes c WHERE c.written_at < statement_timestamp() - $1::interval AND NOT ` + ours + `),
	removed AS (
		DELETE FROM changes c USING cut WHERE c.xid < cut.xid AND ` + ours + ` RETURNING c.xid)
	INSERT INTO changes_removed (below) SELECT cut.xid FROM cut WHERE EXISTS (SELECT FROM removed)
	ON CONFLICT (singleton) DO UPDATE SET below = CASE
		WHEN changes_removed.below > pg_snapshot_xmax(pg_current_snapshot()) THEN excluded.below
		ELSE greatest(changes_removed.below, excluded.below) END`

// PruneChanges removes changes older than keep, and leaves a mark of how far it went:
// who stands before it has lost its place.
func (s *Store) PruneChanges(ctx context.Context, keep time.Duration) error {
	_, err := s.pool.Exec(ctx, pruneChanges, keep)
	return translate("prune the change feed", err)
}
