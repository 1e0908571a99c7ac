package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Key is the row of a key-encryption key; the key itself is in the keyset. MAC covers
// all other fields.
type Key struct {
	ID        uint32
	State     string
	CreatedAt time.Time
	// Revision is that of the keyset that the row was written with.
	Revision int64
	MAC      []byte
}

// Keyset is the wrapped keyset and the rows of its keys as of one moment.
type Keyset struct {
	Wrapped []byte
	Keys    []Key
}

// WrappedKeyset reads the vault's keyset.
func (s *Store) WrappedKeyset(ctx context.Context) ([]byte, error) {
	var wrapped []byte
	err := s.pool.QueryRow(ctx, `SELECT wrapped_keyset FROM vault`).Scan(&wrapped)
	return wrapped, translate("read the vault's keyset", err)
}

const queryKeyset = `SELECT v.wrapped_keyset, k.id, k.state, k.created_at, k.revision, k.mac
	FROM vault v LEFT JOIN key_encryption_keys k ON true ORDER BY k.created_at, k.id`

// Keyset reads the vault's keyset and the rows of its keys, oldest first.
func (s *Store) Keyset(ctx context.Context) (Keyset, error) {
	rows, err := s.pool.Query(ctx, queryKeyset)
	if err != nil {
		return Keyset{}, translate("read the vault's keyset", err)
	}
	var (
		found     Keyset
		id        *int64
		state     *string
		createdAt *time.Time
		revision  *int64
		mac       []byte
	)
	_, err = pgx.ForEachRow(rows, []any{&found.Wrapped, &id, &state, &createdAt, &revision, &mac}, func() error {
		if id != nil {
			found.Keys = append(found.Keys, Key{ID: uint32(*id), State: *state, CreatedAt: *createdAt, Revision: *revision, MAC: mac})
		}
		return nil
	})
	return found, translate("read the vault's keyset", err)
}

// SwapKeyset replaces the wrapped keyset. It reports false, and writes nothing, when
// the stored one is not old any more.
func (t *Tx) SwapKeyset(ctx context.Context, old, wrapped []byte) (bool, error) {
	tag, err := t.tx.Exec(ctx, `UPDATE vault SET wrapped_keyset = $2 WHERE wrapped_keyset = $1`, old, wrapped)
	return tag.RowsAffected() == 1, translate("write the vault's keyset", err)
}

// WriteKeys writes the rows of keys, whether they are there or not.
func (t *Tx) WriteKeys(keys []Key) {
	for _, k := range keys {
		t.batch.Queue(`INSERT INTO key_encryption_keys (id, state, created_at, revision, mac) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (id) DO UPDATE SET state = excluded.state, created_at = excluded.created_at,
				revision = excluded.revision, mac = excluded.mac`,
			int64(k.ID), k.State, k.CreatedAt, k.Revision, k.MAC)
	}
}

// ErrKeyInUse says that versions refer to a key that was to be deleted.
var ErrKeyInUse = errors.New("versions refer to the key")

// DeleteKey deletes the row of a key. It waits for the transactions that write
// versions under it now, and fails with ErrKeyInUse when there is a version.
func (t *Tx) DeleteKey(ctx context.Context, id uint32) error {
	_, err := t.tx.Exec(ctx, `DELETE FROM key_encryption_keys WHERE id = $1`, int64(id))
	if isKeyViolation(err) {
		return ErrKeyInUse
	}
	return translate("delete the key", err)
}

// DeleteUnusedKeys deletes the rows of those of the keys to which no version refers.
func (t *Tx) DeleteUnusedKeys(ids []uint32) {
	for _, id := range ids {
		t.batch.Queue(`DELETE FROM key_encryption_keys
			WHERE id = $1 AND NOT EXISTS (SELECT FROM secret_versions WHERE kek_id = $1)`, int64(id))
	}
}

// keyConstraint is the foreign key from a version to the key that wrapped it.
const keyConstraint = "secret_versions_kek_id_fkey"

func isKeyViolation(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == codeForeignKeyViolation && pgErr.ConstraintName == keyConstraint
}

// KeyUses counts the versions under each key, soft-deleted ones included.
func (s *Store) KeyUses(ctx context.Context) (map[uint32]int64, error) {
	rows, err := s.pool.Query(ctx, `SELECT kek_id, count(*) FROM secret_versions WHERE kek_id IS NOT NULL GROUP BY kek_id`)
	if err != nil {
		return nil, translate("count the versions of the keys", err)
	}
	uses := map[uint32]int64{}
	var id, n int64
	_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		uses[uint32(id)] = n
		return nil
	})
	return uses, translate("count the versions of the keys", err)
}
