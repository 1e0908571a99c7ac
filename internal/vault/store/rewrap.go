package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// WrappedKey is the wrapped data key of a version, and what it is bound to.
type WrappedKey struct {
	SecretID ID
	Path     string
	Version  int64
	Wrapped  []byte
}

// Rows that another rewrap holds are passed over: it does them. The planner must
// not look for the head rows first, so they are looked up for the rows found.
const queryWrappedKeys = `WITH found AS MATERIALIZED (
		SELECT secret_id, version, wrapped_key FROM secret_versions v
		WHERE kek_id = ANY ($1) AND NOT EXISTS (
			SELECT FROM unnest($2::uuid[], $3::bigint[]) AS x (secret_id, version)
			WHERE x.secret_id = v.secret_id AND x.version = v.version)
		LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED)
	SELECT f.secret_id, s.path, f.version, f.wrapped_key FROM found f JOIN secrets s ON s.id = f.secret_id`

// LockWrappedKeys reads at most limit data keys that one of the keys wrapped, and
// holds their versions until the transaction ends. It passes over what is in except
// and what another transaction holds.
func (t *Tx) LockWrappedKeys(ctx context.Context, keys []uint32, except []WrappedKey, limit int) ([]WrappedKey, error) {
	ids := make([]int64, len(keys))
	for i, id := range keys {
		ids[i] = int64(id)
	}
	secrets, versions := make([]ID, len(except)), make([]int64, len(except))
	for i, x := range except {
		secrets[i], versions[i] = x.SecretID, x.Version
	}
	rows, err := t.tx.Query(ctx, queryWrappedKeys, ids, secrets, versions, limit)
	if err != nil {
		return nil, translate("read wrapped keys", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[WrappedKey])
	return found, translate("read wrapped keys", err)
}

// SwapWrappedKeys replaces the wrapped data keys old, which LockWrappedKeys gave, by
// wrapped, in the same order. A version whose key is not the old one any more keeps
// it. It returns how many were replaced.
func (t *Tx) SwapWrappedKeys(ctx context.Context, old []WrappedKey, wrapped [][]byte) (int64, error) {
	secrets, versions, before := make([]ID, len(old)), make([]int64, len(old)), make([][]byte, len(old))
	for i, o := range old {
		secrets[i], versions[i], before[i] = o.SecretID, o.Version, o.Wrapped
	}
	tag, err := t.tx.Exec(ctx, `UPDATE secret_versions v SET wrapped_key = n.after
		FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bytea[]) AS n (secret_id, version, before, after)
		WHERE v.secret_id = n.secret_id AND v.version = n.version AND v.wrapped_key = n.before`,
		secrets, versions, before, wrapped)
	return tag.RowsAffected(), translate("write wrapped keys", err)
}
