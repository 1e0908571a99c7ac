package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// IdempotencyKey says which version a write made that had an idempotency key. MAC
// covers all other fields.
type IdempotencyKey struct {
	// Name is a keyed MAC of who used which key for which path, and Request one of all
	// that was asked.
	Name, Request []byte
	SecretID      ID
	Version       int64
	CreatedAt     time.Time
	MAC           []byte
}

// IdempotencyKey reads the row of name; nil when there is none.
func (t *Tx) IdempotencyKey(ctx context.Context, name []byte) (*IdempotencyKey, error) {
	k := IdempotencyKey{Name: name}
	err := t.tx.QueryRow(ctx, `SELECT request, secret_id, version, created_at, mac FROM idempotency_keys WHERE name = $1`, name).
		Scan(&k.Request, &k.SecretID, &k.Version, &k.CreatedAt, &k.MAC)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, translate("read the idempotency key", err)
	}
	return &k, nil
}

// PutIdempotencyKey writes k, in place of an older row of its name.
func (t *Tx) PutIdempotencyKey(k *IdempotencyKey) {
	t.batch.Queue(`INSERT INTO idempotency_keys (name, request, secret_id, version, created_at, mac)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO UPDATE SET request = excluded.request,
			secret_id = excluded.secret_id, version = excluded.version, created_at = excluded.created_at, mac = excluded.mac`,
		k.Name, k.Request, k.SecretID, k.Version, k.CreatedAt, k.MAC)
}

// PruneIdempotencyKeys removes those made before t.
func (s *Store) PruneIdempotencyKeys(ctx context.Context, t time.Time) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM idempotency_keys WHERE created_at < $1`, t)
	return translate("prune the idempotency keys", err)
}
