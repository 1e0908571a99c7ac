package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// maxAttempts bounds how often a transaction that lost a race runs again.
const maxAttempts = 5

// InTx runs f in one transaction and commits when f returns nil. A transaction
// that lost a race against another is run again, so f must have no effect outside
// of it. Errors of f are returned as they are.
func (s *Store) InTx(ctx context.Context, f func(*Tx) error) error {
	var err error
	for range maxAttempts {
		if err = s.inTx(ctx, f); !isRace(err) {
			return err
		}
	}
	return err
}

func (s *Store) inTx(ctx context.Context, f func(*Tx) error) error {
	if err := s.transactions.Acquire(ctx, 1); err != nil {
		return translate("wait for a transaction's turn", err)
	}
	defer s.transactions.Release(1)
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return translate("begin a transaction", err)
	}
	defer conn.Release()
	t := &Tx{tx: &transaction{conn: conn}}
	defer t.tx.end(ctx)
	if err := f(t); err != nil {
		return err
	}
	return translate("commit", markUnknown(t.tx.commit(ctx, &t.batch)))
}

// Tx is one transaction. Its writes are sent together, by Flush or with the commit.
type Tx struct {
	tx    *transaction
	batch pgx.Batch
	ids   []int64 // for audit rows, drawn and not used yet
}

// Flush sends the writes made so far in one round trip. Without it they are sent with
// the commit.
func (t *Tx) Flush(ctx context.Context) error {
	if t.batch.Len() == 0 {
		return nil
	}
	batch := t.batch
	t.batch = pgx.Batch{}
	return translate("write", t.tx.SendBatch(ctx, &batch).Close())
}

// transaction is what pgx.Tx is, with two round trips less: BEGIN goes with the first
// statements and COMMIT with the last.
type transaction struct {
	conn  *pgxpool.Conn
	begun bool
}

// Exec is that of pgx.Tx, as are Query, QueryRow and SendBatch.
func (t *transaction) Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error) {
	if err := t.begin(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.conn.Exec(ctx, sql, arguments...)
}

func (t *transaction) Query(ctx context.Context, sql string, arguments ...any) (pgx.Rows, error) {
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	return t.conn.Query(ctx, sql, arguments...)
}

func (t *transaction) QueryRow(ctx context.Context, sql string, arguments ...any) pgx.Row {
	if err := t.begin(ctx); err != nil {
		return failedRow{err}
	}
	return t.conn.QueryRow(ctx, sql, arguments...)
}

// SendBatch sends BEGIN with the batch when it is the first of the transaction.
func (t *transaction) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	if t.begun {
		return t.conn.SendBatch(ctx, batch)
	}
	var whole pgx.Batch
	whole.BeginTx(pgx.TxOptions{})
	whole.QueuedQueries = append(whole.QueuedQueries, batch.QueuedQueries...)
	t.begun = true
	results := t.conn.SendBatch(ctx, &whole)
	_, _ = results.Exec() // an error is that of all results that follow
	return results
}

func (t *transaction) begin(ctx context.Context) error {
	if t.begun {
		return nil
	}
	t.begun = true
	_, err := t.conn.Exec(ctx, "begin")
	return err
}

// commit sends the last writes, and COMMIT behind them: Postgres passes over it when one
// of them fails.
func (t *transaction) commit(ctx context.Context, last *pgx.Batch) error {
	if !t.begun && last.Len() == 0 {
		return nil
	}
	last.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() == "ROLLBACK" {
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
	return t.SendBatch(ctx, last).Close()
}

// end rolls back what was not committed. The context may have ended: the connection is
// to be used again all the same, unless it does not answer.
func (t *transaction) end(ctx context.Context) {
	if conn := t.conn.Conn(); !conn.IsClosed() && conn.PgConn().TxStatus() != idle {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		_, _ = conn.Exec(ctx, "rollback")
	}
}

// idle is Postgres' status of a session in no transaction.
const idle = 'I'

type failedRow struct{ err error }

// Scan implements pgx.Row.
func (r failedRow) Scan(...any) error { return fmt.Errorf("begin: %w", r.err) }
