package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

const (
	connectTimeout = 5 * time.Second
	// defaultConns is the size of the pool when the URL has no pool_max_conns. An
	// operation holds a connection for a statement or two, so a few serve many; two
	// replicas stay well below Postgres' default of 100.
	defaultConns = 16
	// Limits of a session that Postgres holds to by itself: when a client is gone and its
	// connection half open, nothing of it stays. The engine's operations have shorter
	// ones; an operation that needs longer sets its own with SET LOCAL.
	statementTimeout         = time.Minute
	lockTimeout              = 15 * time.Second
	idleInTransactionTimeout = time.Minute
	// maxAttempts bounds how often a transaction that lost a race runs again.
	maxAttempts = 5
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is a pool of connections to the vault's database.
type Store struct {
	pool       *pgxpool.Pool
	statements *statements
}

// prepareSession sets what a session of the engine needs. It is a statement and not
// connection parameters, which poolers refuse.
func prepareSession(ctx context.Context, conn *pgx.Conn) error {
	// Statements are short: compiling one to machine code takes longer than any runs.
	_, err := conn.Exec(ctx, `SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
		set_config('idle_in_transaction_session_timeout', $3, false), set_config('jit', 'off', false)`,
		milliseconds(statementTimeout), milliseconds(lockTimeout), milliseconds(idleInTransactionTimeout))
	if err != nil {
		return err
	}
	return ensureDurable(ctx, conn)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// ensureDurable overrides a database or role whose default lets a commit return
// before it is on disk: an audit row must outlive a crash of the server. Stronger
// settings stay.
func ensureDurable(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
		WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

// Close waits for connections in use and closes them all.
func (s *Store) Close() { s.pool.Close() }

// Migrate brings the schema up to date. Replicas that start together take turns
// under an advisory lock.
func (s *Store) Migrate(ctx context.Context) error { return s.migrateTo(ctx, latest) }

// latest is above the number of every migration.
const latest = math.MaxInt64

// migrateTo brings the schema up to a version, that of an older backup.
func (s *Store) migrateTo(ctx context.Context, version int64) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	// Not from the pool: a migration may take longer than a statement of the engine.
	pool := s.pool.Config()
	db := stdlib.OpenDB(*pool.ConnConfig, stdlib.OptionBeforeConnect(pool.BeforeConnect))
	defer func() { _ = db.Close() }()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker), goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	if _, err := provider.UpTo(ctx, version); err != nil {
		return translate("migrate the schema", err)
	}
	return nil
}

// Ping asks the database for an answer that needs the schema.
func (s *Store) Ping(ctx context.Context) error {
	var ok bool
	err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM vault)`).Scan(&ok)
	return translate("ask the database", err)
}

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
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return translate("begin a transaction", err)
	}
	// After a commit this does nothing. The context may have ended: roll back all
	// the same, so that the connection can be used again.
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := f(&Tx{tx: tx}); err != nil {
		return err
	}
	return translate("commit", markUnknown(tx.Commit(ctx)))
}

// Tx is one transaction. Its writes are sent together, by Flush.
type Tx struct {
	tx    pgx.Tx
	batch pgx.Batch
}

// Flush sends the writes made so far in one round trip.
func (t *Tx) Flush(ctx context.Context) error {
	if t.batch.Len() == 0 {
		return nil
	}
	batch := t.batch
	t.batch = pgx.Batch{}
	return translate("write", t.tx.SendBatch(ctx, &batch).Close())
}
