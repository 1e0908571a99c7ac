package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// ID identifies a vault or a secret: a random UUID.
type ID = [16]byte

// Vault is the one row that says which vault the database holds.
type Vault struct {
	ID            ID
	WrappedKeyset []byte
	// Keys are the rows of a new vault's keys; LoadOrCreateVault gives them back of no
	// other.
	Keys []Key
}

// bootstrapLock is the key of the advisory lock under which a new database gets
// its keyset; any constant of ours will do.
const bootstrapLock = 0x436f66666572 // "Coffer"

// LoadOrCreateVault returns the database's vault, or the one made by create when
// there is none. Of replicas that start together one creates.
func (s *Store) LoadOrCreateVault(ctx context.Context, create func() (Vault, error)) (Vault, error) {
	var v Vault
	err := s.InTx(ctx, func(t *Tx) error {
		if _, err := t.tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(bootstrapLock)); err != nil {
			return translate("lock the vault", err)
		}
		err := t.tx.QueryRow(ctx, `SELECT id, wrapped_keyset FROM vault`).Scan(&v.ID, &v.WrappedKeyset)
		if !errors.Is(err, pgx.ErrNoRows) {
			return translate("read the vault's keyset", err)
		}
		if v, err = create(); err != nil {
			return err
		}
		_, err = t.tx.Exec(ctx, `INSERT INTO vault (id, wrapped_keyset) VALUES ($1, $2)`, v.ID, v.WrappedKeyset)
		if err != nil {
			return translate("write the vault's keyset", err)
		}
		t.WriteKeys(v.Keys)
		return t.Flush(ctx)
	})
	return v, err
}
