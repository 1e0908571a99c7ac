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
	"golang.org/x/sync/semaphore"
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
	statementTimeout = time.Minute
	lockTimeout      = 15 * time.Second
	// idleInTransactionTimeout is longer than any operation, which does nothing slow between its statements, and short
	// because the locks of a client that is gone keep others from its paths, and from the audit log's heads, meanwhile.
	idleInTransactionTimeout = 15 * time.Second
	// reservedConns of the pool are not for transactions, which hold a connection for
	// several round trips and wait for locks: so the statements of reads, which many
	// readers share, find one however many write.
	reservedConns = 4
	// longReads is how many copies and verifications of the whole database go on at a time, if the pool has as many to
	// spare; more wait. Each holds a connection for minutes.
	longReads = 2
	// endTimeout bounds the end of a transaction that is given up: its connection may be half open, and is closed then.
	endTimeout = 5 * time.Second
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store is a pool of connections to the vault's database.
type Store struct {
	pool         *pgxpool.Pool
	statements   *statements
	transactions *semaphore.Weighted
	// long has a turn for each transaction that reads for minutes.
	long *semaphore.Weighted
}

// turns says how many transactions and how many long reads may hold one of conns connections at a time. One is left for
// single statements where there are three or more.
func turns(conns int32) (transactions, long int64) {
	transactions = max(1, int64(conns)-reservedConns)
	return transactions, max(1, min(longReads, int64(conns)-transactions-1))
}

// prepareSession sets what a session of the engine needs. It is a statement and not
// connection parameters, which poolers refuse.
//
// Transactions are at read committed, whatever the database's default: what waits for a
// lock goes on with the row as it is then. At a stricter level it would fail, and so
// would writers of one path that are many enough.
func prepareSession(ctx context.Context, conn *pgx.Conn) error {
	// Statements are short: compiling one to machine code takes longer than any runs.
	_, err := conn.Exec(ctx, `SELECT set_config('statement_timeout', $1, false), set_config('lock_timeout', $2, false),
		set_config('idle_in_transaction_session_timeout', $3, false), set_config('default_transaction_isolation', 'read committed', false),
		set_config('jit', 'off', false)`,
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
// under an advisory lock. ErrOwner says that the role may not.
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
	_, err = provider.UpTo(ctx, version)
	if isForbidden(err) {
		return fmt.Errorf("migrate the schema: %w: %w", ErrOwner, err)
	}
	return translate("migrate the schema", err)
}

// Ping asks the database for an answer that needs the schema.
func (s *Store) Ping(ctx context.Context) error {
	var ok bool
	err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM vault)`).Scan(&ok)
	return translate("ask the database", err)
}
