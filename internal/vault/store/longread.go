package store

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// readLong gives read one moment of the database for as long as it takes, however slowly its reader is: it holds a
// connection, and there are few of these at a time. what names it in errors.
func (s *Store) readLong(ctx context.Context, what string, read func(tx pgx.Tx) error) error {
	if err := s.long.Acquire(ctx, 1); err != nil {
		return translate(what, err)
	}
	defer s.long.Release(1)
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return translate(what, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		_ = tx.Rollback(ctx)
	}()
	// A reader that is slow holds up its statement, or lets time go by between two, by design.
	if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; `+lockParts); err != nil {
		return translate(what, err)
	}
	return read(tx)
}
