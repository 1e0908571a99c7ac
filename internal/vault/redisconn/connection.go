// Package redisconn connects to Redis as people run it: one server, a master that
// Sentinels watch, or a Cluster; with TLS and with credentials that may change while
// the program runs. The URL says which:
//
//	redis://[user]:password@host:6379/0                              one server
//	redis+sentinel://[user]:password@host:26379,host:26379/master/0  the master that the Sentinels name
//	redis+cluster://[user]:password@host:6379,host:6379              a Cluster, found by some of its nodes
//
// rediss in place of redis is TLS. Sentinels with a password of their own get it by
// ?sentinel_username=…&sentinel_password=….
//
// Coffer uses commands of one key only, so nothing needs hash tags in a Cluster.
package redisconn

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/vault/address"
)

// closeAfter is when a client that was replaced is closed: well after the last
// question that was put to it has timed out.
const closeAfter = 4 * patience

// quiet stops go-redis from writing a line to stderr for each dial that fails, past
// any logger: outages are reported once, by who notices them.
var quiet = sync.OnceFunc(func() { redis.SetLogger(discard{}) })

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

// Connection is a way to the Redis of a Source, which may change. Close it after use.
type Connection struct {
	watch  *address.Watch
	facade *redis.Client

	mu      sync.RWMutex
	current redis.UniversalClient
	closed  bool
}

// Open returns a connection to source. It does not wait for Redis to answer.
func Open(source address.Source, logger *slog.Logger) (*Connection, error) {
	quiet()
	watch, err := address.NewWatch(source, func(a address.Address) error {
		_, err := parse(a)
		return err
	}, logger)
	if err != nil {
		return nil, err
	}
	c := &Connection{watch: watch}
	if c.current, err = c.dial(context.Background(), patience); err != nil {
		return nil, err
	}
	c.facade = redis.NewClient(&redis.Options{
		// Never called: every command goes to the current client.
		Dialer: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed },
	})
	c.facade.AddHook(forward{c})
	return c, nil
}

// Client is for commands and pipelines of any number of goroutines. They go to where
// the source points at that moment. It cannot subscribe.
func (c *Connection) Client() redis.UniversalClient { return c.facade }

// Dedicated returns a new client for commands that block for up to readTimeout. The
// caller closes it, and does so soon when stale reports true: the source is another
// by then.
func (c *Connection) Dedicated(ctx context.Context, readTimeout time.Duration) (client redis.UniversalClient, stale func() bool, err error) {
	c.refresh(ctx)
	at := c.watch.Fingerprint()
	if client, err = c.dial(ctx, readTimeout); err != nil {
		return nil, nil, err
	}
	return client, func() bool {
		c.refresh(ctx)
		return c.watch.Fingerprint() != at
	}, nil
}

// Close closes the connection.
func (c *Connection) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	_ = c.current.Close()
	_ = c.facade.Close()
}

func (c *Connection) dial(ctx context.Context, readTimeout time.Duration) (redis.UniversalClient, error) {
	e, err := parse(c.watch.Current(ctx))
	if err != nil {
		return nil, err
	}
	e.options.ReadTimeout = readTimeout
	return e.open(), nil
}

// client is the current one; a changed source replaces it first.
func (c *Connection) client(ctx context.Context) redis.UniversalClient {
	c.refresh(ctx)
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.current
}

func (c *Connection) refresh(ctx context.Context) {
	if !c.watch.Changed(ctx) {
		return
	}
	fresh, err := c.dial(ctx, patience)
	if err != nil {
		return // a change again; the next look finds it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = fresh.Close()
		return
	}
	old := c.current
	c.current = fresh
	time.AfterFunc(closeAfter, func() { _ = old.Close() })
}

// forward hands the commands of the facade to the current client.
type forward struct{ connection *Connection }

func (f forward) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f forward) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return f.connection.client(ctx).Process(ctx, cmd)
	}
}

func (f forward) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		pipe := f.connection.client(ctx).Pipeline()
		for _, cmd := range cmds {
			_ = pipe.Process(ctx, cmd) // queues
		}
		_, err := pipe.Exec(ctx)
		return err
	}
}
