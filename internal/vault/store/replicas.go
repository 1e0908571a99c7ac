package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Replica is a process that serves the vault.
type Replica struct {
	// ID is random, for the life of the process.
	ID ID
	// Name is for people: the name of the pod or the host.
	Name string
	// KeysetRevision is that of the keyset it has loaded.
	KeysetRevision int64
	// SeenAt is when it last said so, by the database's clock.
	SeenAt time.Time
}

// forgetReplicas is when the row of a replica that ended without a word is removed.
const forgetReplicas = time.Hour

// SeeReplica writes that r is there now, and forgets replicas that have long been
// gone.
func (s *Store) SeeReplica(ctx context.Context, r Replica) error {
	var batch pgx.Batch
	batch.Queue(`INSERT INTO replicas (id, name, keyset_revision, seen_at) VALUES ($1, $2, $3, clock_timestamp())
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, keyset_revision = excluded.keyset_revision, seen_at = excluded.seen_at`,
		r.ID, r.Name, r.KeysetRevision)
	batch.Queue(`DELETE FROM replicas WHERE seen_at < clock_timestamp() - $1::interval`, forgetReplicas)
	return translate("write that this replica is there", s.pool.SendBatch(ctx, &batch).Close())
}

// RemoveReplica forgets a replica that ends.
func (s *Store) RemoveReplica(ctx context.Context, id ID) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM replicas WHERE id = $1`, id)
	return translate("forget this replica", err)
}

// Replicas lists the replicas seen in the last d, by name.
func (s *Store) Replicas(ctx context.Context, d time.Duration) ([]Replica, error) {
	rows, err := s.pool.Query(ctx, `SELECT id, name, keyset_revision, seen_at FROM replicas
		WHERE seen_at > clock_timestamp() - $1::interval ORDER BY name, id`, d)
	if err != nil {
		return nil, translate("list the replicas", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Replica])
	return found, translate("list the replicas", err)
}
