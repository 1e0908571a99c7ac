package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// RotationRun is one run of a rotation. MAC covers all other fields but Epoch and NewestStep.
type RotationRun struct {
	ID            ID
	Cluster, Name string
	Path          string
	DueAt         time.Time
	PlannedAt     time.Time
	Ended         bool
	// Revision counts the writes of the row, from 1.
	Revision int64
	// Record is JSON, byte for byte as written.
	Record []byte
	MAC    []byte
	// Epoch counts who took the run; only the last one may write it.
	Epoch int64
	// NewestStep is the highest number that has a row in rotation_steps.
	NewestStep int64
}

// RotationStep is what a run went through. MAC covers all other fields.
type RotationStep struct {
	RunID  ID
	Number int64
	State  string
	Detail string
	At     time.Time
	MAC    []byte
}

const runColumns = `r.id, r.cluster, r.name, r.path, r.due_at, r.planned_at, r.ended, r.revision, r.record::text, r.mac, r.epoch,
	(SELECT coalesce(max(t.number), 0) FROM rotation_steps t WHERE t.run_id = r.id)`

func scanRun(row pgx.CollectableRow) (RotationRun, error) {
	var r RotationRun
	var record string
	err := row.Scan(&r.ID, &r.Cluster, &r.Name, &r.Path, &r.DueAt, &r.PlannedAt, &r.Ended, &r.Revision, &record, &r.MAC, &r.Epoch, &r.NewestStep)
	r.Record = []byte(record)
	return r, err
}

// oneRun is nil when there is no row.
func oneRun(ctx context.Context, q querier, doing, sql string, args ...any) (*RotationRun, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, translate(doing, err)
	}
	found, err := pgx.CollectOneRow(rows, scanRun)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, translate(doing, err)
	}
	return &found, nil
}

// InsertRotationRun writes a new run with its first step. It reports false, and writes nothing, when the path has a run that has not ended, or
// when there is one for the time at which this one is due.
func (t *Tx) InsertRotationRun(ctx context.Context, r *RotationRun, first *RotationStep) (bool, error) {
	tag, err := t.tx.Exec(ctx, `INSERT INTO rotation_runs (id, cluster, name, path, due_at, planned_at, ended, revision, record, mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::json, $10) ON CONFLICT DO NOTHING`,
		r.ID, r.Cluster, r.Name, r.Path, r.DueAt, r.PlannedAt, r.Ended, r.Revision, string(r.Record), r.MAC)
	if err != nil || tag.RowsAffected() == 0 {
		return false, translate("write the rotation", err)
	}
	t.InsertRotationStep(first)
	return true, nil
}

// InsertRotationStep adds to the history of a run.
func (t *Tx) InsertRotationStep(s *RotationStep) {
	t.batch.Queue(`INSERT INTO rotation_steps (run_id, number, state, detail, at, mac) VALUES ($1, $2, $3, $4, $5, $6)`,
		s.RunID, s.Number, s.State, s.Detail, s.At, s.MAC)
}

// ClaimRotationRun takes the run that is to be looked at and that nobody works on, for lease; nil when there is none. What another
// replica is about to take is passed over.
func (s *Store) ClaimRotationRun(ctx context.Context, lease time.Duration) (*RotationRun, error) {
	const doing = "take a rotation"
	var id ID
	var epoch int64
	err := s.pool.QueryRow(ctx, `UPDATE rotation_runs SET epoch = epoch + 1, leased_until = clock_timestamp() + $1::interval
		WHERE id = (SELECT id FROM rotation_runs WHERE NOT ended AND look_at <= clock_timestamp() AND leased_until <= clock_timestamp()
			ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING id, epoch`, lease).Scan(&id, &epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, translate(doing, err)
	}
	// The newest step is asked for by a statement that begins after the row was had: it may have been changed meanwhile.
	return oneRun(ctx, s.pool, doing, `SELECT `+runColumns+` FROM rotation_runs r WHERE id = $1 AND epoch = $2`, id, epoch)
}

// UpdateRotationRun writes the run of who took it, and holds it for lease on; a lease of 0 gives it back. It is looked at again after wait.
// It reports false, and writes nothing, when another has taken the run since, or written it.
func (t *Tx) UpdateRotationRun(ctx context.Context, r *RotationRun, lease, wait time.Duration) (bool, error) {
	tag, err := t.tx.Exec(ctx, `UPDATE rotation_runs SET ended = $4, revision = $3 + 1, record = $5::text::json, mac = $6,
		leased_until = clock_timestamp() + $7::interval, look_at = clock_timestamp() + $8::interval
		WHERE id = $1 AND epoch = $2 AND revision = $3`,
		r.ID, r.Epoch, r.Revision-1, r.Ended, string(r.Record), r.MAC, lease, wait)
	return tag.RowsAffected() == 1, translate("write the rotation", err)
}

// ReleaseRotationRun gives a run back that nobody has taken since, as it is, to be looked at again after wait, or at once when somebody
// changed it meanwhile.
func (s *Store) ReleaseRotationRun(ctx context.Context, r *RotationRun, wait time.Duration) error {
	_, err := s.pool.Exec(ctx, `UPDATE rotation_runs SET leased_until = clock_timestamp(),
			look_at = CASE WHEN revision = $3 THEN clock_timestamp() + $4::interval ELSE look_at END
		WHERE id = $1 AND epoch = $2`, r.ID, r.Epoch, r.Revision, wait)
	return translate("give the rotation back", err)
}

// LockRotationRun reads the run of a path that has not ended, and holds it until the transaction ends; nil when there is none.
func (t *Tx) LockRotationRun(ctx context.Context, path string) (*RotationRun, error) {
	// The newest step is asked for by a statement that begins after the lock was waited for.
	if _, err := t.tx.Exec(ctx, `SELECT FROM rotation_runs WHERE path = $1 AND NOT ended FOR UPDATE`, path); err != nil {
		return nil, translate("lock the rotation", err)
	}
	return oneRun(ctx, t.tx, "lock the rotation", `SELECT `+runColumns+` FROM rotation_runs r WHERE path = $1 AND NOT ended FOR UPDATE`, path)
}

// ChangeRotationRun writes a run that is locked, whoever works on it, and has it looked at.
func (t *Tx) ChangeRotationRun(r *RotationRun) {
	t.batch.Queue(`UPDATE rotation_runs SET ended = $2, revision = $3, record = $4::text::json, mac = $5, look_at = clock_timestamp() WHERE id = $1`,
		r.ID, r.Ended, r.Revision, string(r.Record), r.MAC)
}

// NewestRotationRuns are the newest run of each rotation that has one, in the order of clusters and names: the one that has not ended
// or else, by when they were due and planned, the last. Times after now count for nothing: a clock was wrong.
func (s *Store) NewestRotationRuns(ctx context.Context, now time.Time) ([]RotationRun, error) {
	return s.runs(ctx, `SELECT `+runColumns+` FROM (SELECT DISTINCT cluster, name FROM rotation_runs) n, LATERAL (
			SELECT * FROM rotation_runs r WHERE r.cluster = n.cluster AND r.name = n.name
			ORDER BY ended, greatest(CASE WHEN planned_at <= $1 THEN planned_at END, CASE WHEN due_at <= $1 THEN due_at END) DESC NULLS LAST, id LIMIT 1) r
		ORDER BY r.cluster COLLATE "C", r.name COLLATE "C"`, now)
}

// RotationRuns are the newest runs of a rotation, at most limit, the newest first.
func (s *Store) RotationRuns(ctx context.Context, cluster, name string, limit int) ([]RotationRun, error) {
	return s.runs(ctx, `SELECT `+runColumns+` FROM rotation_runs r WHERE cluster = $1 AND name = $2 ORDER BY planned_at DESC, id LIMIT $3`,
		cluster, name, limit)
}

func (s *Store) runs(ctx context.Context, sql string, args ...any) ([]RotationRun, error) {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, translate("read the rotations' runs", err)
	}
	found, err := pgx.CollectRows(rows, scanRun)
	return found, translate("read the rotations' runs", err)
}

// RotationSteps are what runs went through, in order.
func (s *Store) RotationSteps(ctx context.Context, runs []ID) ([]RotationStep, error) {
	rows, err := s.pool.Query(ctx, `SELECT run_id, number, state, detail, at, mac FROM rotation_steps WHERE run_id = ANY ($1) ORDER BY run_id, number`, runs)
	if err != nil {
		return nil, translate("read the rotations' steps", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[RotationStep])
	return found, translate("read the rotations' steps", err)
}

// KeptRuns says which ended runs of a rotation are kept: the newest Shown always, and the newest Most unless they were planned before
// Since.
type KeptRuns struct {
	Shown, Most int
	Since       time.Time
}

// RemoveRotationRuns removes ended runs that are not kept, with their steps, at most limit of them, and says how many. A role that may remove
// none, since it does not own the tables, removes none.
func (s *Store) RemoveRotationRuns(ctx context.Context, keep KeptRuns, limit int) (int64, error) {
	const doing = "remove old runs of rotations"
	var may bool
	err := s.pool.QueryRow(ctx, `SELECT has_table_privilege('rotation_runs', 'DELETE') AND has_table_privilege('rotation_steps', 'DELETE')`).Scan(&may)
	if err != nil || !may {
		return 0, translate(doing, err)
	}
	tag, err := s.pool.Exec(ctx, `WITH numbered AS (
			SELECT id, ended, planned_at, row_number() OVER (PARTITION BY cluster, name ORDER BY planned_at DESC, id) AS n FROM rotation_runs),
		old AS (SELECT id FROM numbered WHERE ended AND n > $1 AND (n > $2 OR planned_at < $3) LIMIT $4),
		steps AS (DELETE FROM rotation_steps WHERE run_id IN (SELECT id FROM old))
		DELETE FROM rotation_runs WHERE id IN (SELECT id FROM old)`, keep.Shown, keep.Most, keep.Since, limit)
	return tag.RowsAffected(), translate(doing, err)
}
