package vault

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/coffer-vault/coffer/internal/vault/cache"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Options are the addresses and the root key of a vault.
type Options struct {
	// DatabaseURL is a Postgres URL.
	DatabaseURL string
	// RedisURL is a Redis URL; empty: the engine works without Redis.
	RedisURL string
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
}

// Open connects to Postgres, brings its schema up to date, makes the vault's
// keyset when the database is new or opens it with the root key, and returns an
// engine and what closes it. Replicas may open one database at the same time.
// Redis need not answer.
func Open(ctx context.Context, o Options) (_ *Engine, _ func(), err error) {
	db, err := store.Open(ctx, o.DatabaseURL)
	if err != nil {
		return nil, nil, err
	}
	closers := []func(){db.Close}
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
	config := Config{Store: db, Clock: o.Clock, Logger: o.Logger, Registerer: o.Registerer, Replica: o.Replica}
	if err := db.Migrate(ctx); err != nil {
		return nil, nil, err
	}
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
	if o.RedisURL != "" {
		options, err := redisOptions(o.RedisURL)
		if err != nil {
			return nil, nil, err
		}
		client := redis.NewClient(options)
		closers = append(closers, func() { _ = client.Close() })
		config.Caches = append(config.Caches, cache.NewRedis(client))
		config.Announcer = changes.NewAnnouncer(client)
		closers = append(closers, config.Announcer.Close)
		config.Waker = changes.NewRedisWaker(options)
	}
	engine := New(config)
	closers = append(closers, engine.startKeyring(ctx, o.KeyringEvery))
	return engine, closeAll, nil
}

// quietRedis stops go-redis from writing a line to stderr for each dial that
// fails, past any logger: outages are reported once, by who notices them.
var quietRedis = sync.OnceFunc(func() { redis.SetLogger(discard{}) })

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

// redisOptions are those of the URL, with the patience of a cache.
func redisOptions(url string) (*redis.Options, error) {
	quietRedis()
	options, err := redis.ParseURL(url)
	if err != nil {
		// The error may repeat the URL, password and all.
		return nil, errors.New("read the Redis URL: it is not like redis://:password@host:6379/0")
	}
	options.DialTimeout = 250 * time.Millisecond
	options.ReadTimeout = 250 * time.Millisecond
	options.WriteTimeout = 250 * time.Millisecond
	options.PoolTimeout = 250 * time.Millisecond
	options.MaxRetries = -1
	options.DialerRetries = 1
	options.ContextTimeoutEnabled = true
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return options, nil
}
