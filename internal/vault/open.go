package vault

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-vault/coffer/internal/vault/address"
	"github.com/coffer-vault/coffer/internal/vault/cache"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/redisconn"
)

// Options are the addresses and the root key of a vault.
type Options struct {
	// DatabaseURL is a Postgres URL; it wins over DatabaseFiles.URL.
	DatabaseURL string
	// DatabaseFiles may change while the engine works.
	DatabaseFiles address.Files
	// OwnerURL and OwnerFiles lead to the same database, as the role that owns the schema: it migrates, makes and drops partitions
	// of the audit log, and gives the role of DatabaseURL the rights that the engine needs and no others. With neither
	// one role does it all.
	OwnerURL   string
	OwnerFiles address.Files
	// RedisURL is a Redis URL (see package redisconn), and wins over RedisFiles.URL;
	// with neither the engine works without Redis.
	RedisURL string
	// RedisFiles may change while the engine works.
	RedisFiles address.Files
	// CacheBytes bounds the sealed values kept in this process; 0 keeps none.
	CacheBytes uint64
	// Root opens the vault's keyset.
	Root       keyring.Root
	Clock      func() time.Time
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Replica is the name of this process in the status of the keyring; the host's
	// name when empty.
	Replica string
	// KeyringEvery is how often the stored keyset is looked at; two seconds when 0.
	KeyringEvery time.Duration
	// RootEvery is how often it is asked whether the root key is another one now; a
	// minute when 0.
	RootEvery time.Duration
	// AuditHeads keeps heads of the audit log outside of the database; it may be nil.
	AuditHeads HeadsExporter
	// AuditRetention is how many whole months of the audit log are kept beside the present one; all when 0.
	AuditRetention int
	// AuditTail gets each audit row that this engine writes as a JSON line, once it is durable; it may be nil.
	// A slow one slows nothing down.
	AuditTail io.Writer
	// RewrapBatch is how many data keys one transaction of a rewrap wraps anew; 500 when 0. The fewer, the shorter are their rows
	// locked, and the longer it takes.
	RewrapBatch int
	// ReaderWindow is how long who read a version over the API counts as one that has it; DefaultReaderWindow when 0.
	ReaderWindow time.Duration
	// Notify has events kept for who delivers them. Without it nothing is told.
	Notify bool
}

// Open connects to Postgres, brings its schema up to date, makes the vault's
// keyset when the database is new or opens it with the root key, and returns an
// engine and what closes it. Replicas may open one database at the same time.
// Redis need not answer. ErrOwner says that the database roles are not as they must be. A database that is older than the exported heads of its audit log is not
// opened: ErrDatabaseOlder.
func Open(ctx context.Context, o Options) (_ *Engine, _ func(), err error) {
	db, owner, closeDatabase, err := openDatabase(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	closers := []func(){closeDatabase}
	closeAll := func() {
		for _, closeOne := range slices.Backward(closers) {
			closeOne()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	config := Config{Store: db, Clock: o.Clock, Logger: o.Logger, Registerer: o.Registerer, Replica: o.Replica, AuditHeads: o.AuditHeads,
		AuditTail: o.AuditTail, Owner: owner, AuditRetention: o.AuditRetention, RewrapBatch: o.RewrapBatch, ReaderWindow: o.ReaderWindow, Notify: o.Notify}
	if config.VaultID, config.Keyring, err = openKeyring(ctx, db, o.Root, config.Clock); err != nil {
		return nil, nil, err
	}
	if o.CacheBytes > 0 {
		memory, err := cache.NewMemory(o.CacheBytes)
		if err != nil {
			return nil, nil, err
		}
		config.Caches = append(config.Caches, memory)
	}
	if source := (address.Source{URL: o.RedisURL, Files: o.RedisFiles}); !source.IsZero() {
		connection, err := redisconn.Open(source, o.Logger)
		if err != nil {
			return nil, nil, err
		}
		closers = append(closers, connection.Close)
		config.Caches = append(config.Caches, cache.NewRedis(connection.Client()))
		config.Announcer = changes.NewAnnouncer(connection.Client())
		closers = append(closers, config.Announcer.Close)
		config.Waker = changes.NewRedisWaker(connection)
	}
	engine := New(config)
	if err := engine.checkExported(ctx); err != nil {
		return nil, nil, err
	}
	// The tail ends last: all others write rows that it prints.
	closers = append(closers, engine.startTail(ctx), engine.startAuditKeeper(ctx))
	closers = append(closers, engine.startKeyring(ctx, o.KeyringEvery, o.RootEvery), engine.startAnchors(ctx))
	return engine, closeAll, nil
}
