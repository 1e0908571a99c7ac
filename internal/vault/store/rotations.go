package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Rotation is one stored definition; Definition is JSON, byte for byte as written.
type Rotation struct {
	Name       string
	Definition []byte
	// Since is when the name came to be defined.
	Since time.Time
}

// RotationSet is all rotations of a cluster, by name. MAC covers the cluster and all else.
type RotationSet struct {
	Revision  int64
	MAC       []byte
	Rotations []Rotation
}

const queryRotationSets = `SELECT s.cluster, s.revision, s.mac, r.name, r.definition::text, r.since FROM rotation_sets s
	LEFT JOIN rotations r USING (cluster) WHERE $1 = '' OR s.cluster = $1 ORDER BY s.cluster, r.name COLLATE "C"`

// RotationSets reads the rotations of all clusters, by cluster, as of one moment.
func (s *Store) RotationSets(ctx context.Context) (map[string]*RotationSet, error) {
	return readRotationSets(ctx, s.pool, "")
}

func readRotationSets(ctx context.Context, q querier, cluster string) (map[string]*RotationSet, error) {
	rows, err := q.Query(ctx, queryRotationSets, cluster)
	if err != nil {
		return nil, translate("read the rotations", err)
	}
	sets := map[string]*RotationSet{}
	var of string
	var head RotationSet
	var name, definition *string
	var since *time.Time
	_, err = pgx.ForEachRow(rows, []any{&of, &head.Revision, &head.MAC, &name, &definition, &since}, func() error {
		if sets[of] == nil {
			sets[of] = &RotationSet{Revision: head.Revision, MAC: head.MAC}
		}
		if name != nil {
			sets[of].Rotations = append(sets[of].Rotations, Rotation{Name: *name, Definition: []byte(*definition), Since: *since})
		}
		return nil
	})
	return sets, translate("read the rotations", err)
}

// LockRotationSet reads the rotations of cluster and holds the set until the transaction ends, also when there is none yet; then
// it returns nil.
func (t *Tx) LockRotationSet(ctx context.Context, cluster string) (*RotationSet, error) {
	const lock = `SELECT pg_advisory_xact_lock(hashtextextended('coffer rotations ' || $1, 0))`
	if _, err := t.tx.Exec(ctx, lock, cluster); err != nil {
		return nil, translate("lock the rotations", err)
	}
	sets, err := readRotationSets(ctx, t.tx, cluster)
	return sets[cluster], err
}

// ReplaceRotationSet replaces the rotations of cluster.
func (t *Tx) ReplaceRotationSet(cluster string, set *RotationSet) {
	t.batch.Queue(`INSERT INTO rotation_sets (cluster, revision, mac) VALUES ($1, $2, $3)
		ON CONFLICT (cluster) DO UPDATE SET revision = excluded.revision, mac = excluded.mac`, cluster, set.Revision, set.MAC)
	t.batch.Queue(`DELETE FROM rotations WHERE cluster = $1`, cluster)
	for _, r := range set.Rotations {
		t.batch.Queue(`INSERT INTO rotations (cluster, name, definition, since) VALUES ($1, $2, $3::text::json, $4)`,
			cluster, r.Name, string(r.Definition), r.Since)
	}
}
