package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Defaults of a CacheConfig.
const (
	// DefaultMaxAge is how late a change comes at most that no event tells of.
	DefaultMaxAge = time.Minute
	// DefaultMaxStale is longer than a server is away as a rule.
	DefaultMaxStale = time.Hour
	// MaxCacheAge bounds MaxAge and MaxStale: after it no cache has a value that its server
	// did not confirm. Coffer counts on it to know who may still have a former version.
	MaxCacheAge = time.Hour
	// DefaultMaxEntries is far above what one program uses.
	DefaultMaxEntries = 1000
)

const (
	// stalePatience is how long a read waits for the server when there is a last value.
	stalePatience = 2 * time.Second
	// outageRetry is how often the server is asked while it does not answer.
	outageRetry = 5 * time.Second
	// sweepEvery is how often values are dropped that may not be used any more.
	sweepEvery = time.Minute
)

// CacheConfig says what a Cache keeps, and how long. Zero fields are defaults.
type CacheConfig struct {
	// Prefix and Paths are those of WatchOptions: where a change is known at once. Other
	// paths can be read too; their changes come within MaxAge.
	Prefix string
	Paths  []string
	// MaxAge is after how long a value is read again though nothing tells of a change:
	// that a right ended by a change of the secret's own access policy is known so. It is
	// MaxCacheAge at most.
	MaxAge time.Duration
	// MaxStale is how old a value may be that is used while the server is away, MaxCacheAge
	// at most; none is used then when it is negative.
	MaxStale time.Duration
	// MaxEntries is how many values are kept; the one that was not used for the longest
	// time goes first.
	MaxEntries int
	// Interrupted, when not nil, hears why changes are not known at once, and when that is
	// tried again. It must not block.
	Interrupted func(err error, again time.Duration)
}

func (c CacheConfig) withDefaults() CacheConfig {
	if c.MaxAge <= 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.MaxStale == 0 {
		c.MaxStale = DefaultMaxStale
	}
	c.MaxAge, c.MaxStale = min(c.MaxAge, MaxCacheAge), min(c.MaxStale, MaxCacheAge)
	if c.MaxEntries <= 0 {
		c.MaxEntries = DefaultMaxEntries
	}
	return c
}

// CachedSecret is a Secret as a Cache has it. It prints without its value. Value is a
// copy for whoever gets it, to clear after use.
type CachedSecret struct {
	Secret
	// ReadAt is when the server was asked for it.
	ReadAt time.Time
	// Outage is why the server cannot be asked now; nil when the value is current.
	Outage error
}

// Stale reports whether the value is the last one that was known before an outage.
func (s CachedSecret) Stale() bool { return s.Outage != nil }

// Age is how long ago the server was asked for the value.
func (s CachedSecret) Age() time.Duration { return time.Since(s.ReadAt) }

// Cache reads current versions and keeps them in memory, nowhere else. One watch tells
// it what changed, so that a Get after a rotation has the new value. While the server is
// away it goes on with the last values, up to CacheConfig.MaxStale, and says so. A value
// is dropped, and its memory overwritten, as soon as its path is known to be deleted or
// denied, when there are too many or it is too old, and with Close.
//
// It is safe for concurrent use; of reads of one path at one time the server sees one.
type Cache struct {
	client *Client
	config CacheConfig
	end    context.CancelFunc
	closed chan struct{}
	work   sync.WaitGroup

	mu      sync.Mutex
	entries *entries // nil when closed
	flights map[string]*flight
	// late are the paths of reads under way that an event overtook: what they bring may be
	// from before it.
	late      map[*flight]string
	followers map[*follower]struct{}
}

// NewCache returns a cache over client. Close ends its watch.
func NewCache(client *Client, config CacheConfig) *Cache {
	ctx, end := context.WithCancel(context.Background())
	c := &Cache{
		client: client, config: config.withDefaults(), end: end, closed: make(chan struct{}),
		entries: newEntries(), flights: map[string]*flight{}, late: map[*flight]string{}, followers: map[*follower]struct{}{},
	}
	c.work.Go(func() { c.feed(ctx) })
	c.work.Go(func() { c.sweep(ctx) })
	return c
}

var errCacheClosed = errors.New("the cache is closed")

// Close ends the watch and drops all values. Reads fail from then on.
func (c *Cache) Close() {
	c.mu.Lock()
	if c.entries != nil {
		c.entries.dropAll()
		c.entries = nil
		close(c.closed)
	}
	c.mu.Unlock()
	c.end()
	c.work.Wait()
}

// Get returns the current version of path: from memory when it is younger than
// CacheConfig.MaxAge and nothing told of a change, else from the server. When the server
// does not answer it is the last version that was known, with its Outage, unless that is
// older than CacheConfig.MaxStale.
//
// Errors are those of [Client.Get]. A deadline of ctx counts as no answer; a read that is
// given up goes on for others.
func (c *Cache) Get(ctx context.Context, path string) (CachedSecret, error) {
	found, outcome, err := c.get(ctx, path)
	if hook := c.client.hooks.CacheRead; hook != nil {
		read := CacheRead{Path: path, Outcome: outcome, Err: err}
		if err == nil {
			read.Age, read.Err = found.Age(), found.Outage
		}
		hook(ctx, read)
	}
	return found, err
}

func (c *Cache) get(ctx context.Context, path string) (CachedSecret, CacheOutcome, error) {
	c.mu.Lock()
	if c.entries == nil {
		c.mu.Unlock()
		return CachedSecret{}, CacheMiss, errCacheClosed
	}
	now := time.Now()
	held := c.entries.get(path)
	if held != nil && !held.changed && now.Sub(held.readAt) < c.config.MaxAge {
		defer c.mu.Unlock()
		return held.copy(nil), CacheHit, nil
	}
	if c.usable(held) && now.Before(held.retryAt) {
		defer c.mu.Unlock()
		return held.copy(held.outage), CacheStale, nil
	}
	f := c.join(ctx, path)
	patience := c.usable(held)
	c.mu.Unlock()
	defer c.leave(f)

	err := f.wait(ctx, c.closed, patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && f.err == nil:
		return CachedSecret{Secret: withCopy(f.secret), ReadAt: f.readAt}, CacheMiss, nil
	case err == nil && c.client.withdrawn(f.err):
		return CachedSecret{}, CacheMiss, f.err
	case err == nil:
		err = f.err
	case errors.Is(err, context.Canceled), errors.Is(err, errCacheClosed):
		return CachedSecret{}, CacheMiss, err
	}
	if c.entries == nil {
		return CachedSecret{}, CacheMiss, errCacheClosed
	}
	if held = c.entries.get(path); c.usable(held) {
		held.outage, held.retryAt = err, time.Now().Add(outageRetry)
		return held.copy(err), CacheStale, nil
	}
	return CachedSecret{}, CacheMiss, err
}

// usable reports whether held may be used while the server is away.
func (c *Cache) usable(held *entry) bool {
	return held != nil && time.Since(held.readAt) < c.config.MaxStale
}

// withdrawn reports whether err says that the caller is not to have the value, rather
// than that the server is away. A token that the server refuses is no outage: a server that
// cannot check one says that it is unavailable, so the account was deleted or its token is
// over, and who has lost its identity must not go on with values for as long as in an outage.
func (c *Client) withdrawn(err error) bool {
	switch CodeOf(err) {
	case CodeNotFoundOrDenied, CodeVersionNotFound, CodeInvalid:
		return true
	default:
		return isRefusal(err) || CodeOf(err) == CodeUnauthenticated && c.token.file == ""
	}
}

// final reports whether err is withdrawn for good: the file of a token that is refused may
// get another one, with which reading goes on.
func (c *Client) final(err error) bool {
	return c.withdrawn(err) && (c.token.file == "" || !isRefusal(err))
}

// flight is one read of the server under way, for all who ask for its path.
type flight struct {
	done   chan struct{}
	readAt time.Time
	secret Secret // this and err once done is closed
	err    error

	waiters int // by Cache.mu
}

// errSlow says that there is no answer yet.
var errSlow = &Error{Code: CodeUnavailable, Detail: fmt.Sprintf("the server has not answered in %v", stalePatience)}

// wait returns nil when the flight is done. Patience says to wait no longer than
// stalePatience.
func (f *flight) wait(ctx context.Context, closed <-chan struct{}, patience bool) error {
	var late <-chan time.Time
	if patience {
		timer := time.NewTimer(stalePatience)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-f.done:
		return nil
	case <-late:
		return errSlow
	case <-ctx.Done():
		return &Error{Code: CodeUnavailable, Detail: fmt.Sprintf("the server has not answered yet: %v", ctx.Err()), cause: ctx.Err()}
	case <-closed:
		return errCacheClosed
	}
}

// join returns the flight for path, which it begins when there is none. c.mu is held.
func (c *Cache) join(ctx context.Context, path string) *flight {
	f := c.flights[path]
	if f == nil {
		f = &flight{done: make(chan struct{}), readAt: time.Now()}
		c.flights[path] = f
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // others may wait for it too
		c.work.Go(func() {
			defer cancel()
			c.read(ctx, path, f)
		})
		c.work.Go(func() {
			defer cancel()
			select {
			case <-c.closed:
			case <-f.done:
			}
		})
	}
	f.waiters++
	return f
}

// leave clears what the flight brought when nobody waits for it any more.
func (c *Cache) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiters--
	f.clearUnlessWanted()
}

func (f *flight) clearUnlessWanted() {
	select {
	case <-f.done:
		if f.waiters == 0 {
			clear(f.secret.Value)
		}
	default:
	}
}

// read asks the server and keeps what it says.
func (c *Cache) read(ctx context.Context, path string, f *flight) {
	found, err := c.client.Get(ctx, path)
	c.mu.Lock()
	defer c.mu.Unlock()
	f.secret, f.err = found, err
	close(f.done)
	defer f.clearUnlessWanted()
	if c.flights[path] != f {
		c.keepLate(path, f)
		return
	}
	delete(c.flights, path)
	if c.entries == nil {
		return
	}
	switch held := c.entries.get(path); {
	case err == nil:
		c.entries.put(path, &entry{secret: withCopy(found), readAt: f.readAt})
		c.entries.shrink(c.config.MaxEntries)
	case isRefusal(err):
		c.dropCaller()
	case c.client.withdrawn(err):
		c.forget(path)
	case held != nil:
		held.outage, held.retryAt = err, time.Now().Add(outageRetry)
	}
	if err == nil || c.client.final(err) {
		c.tell(path)
	}
}

// keepLate keeps what a read brought that an event overtook, unless there is something
// newer: it is read again at once, and is better than nothing in an outage. c.mu is held.
func (c *Cache) keepLate(path string, f *flight) {
	_, wanted := c.late[f]
	delete(c.late, f)
	if !wanted || f.err != nil || c.entries == nil {
		return
	}
	if held := c.entries.get(path); held == nil || held.readAt.Before(f.readAt) {
		c.entries.put(path, &entry{secret: withCopy(f.secret), readAt: f.readAt, changed: true})
		c.entries.shrink(c.config.MaxEntries)
	}
}

// dropCaller drops all, also what reads under way are about to bring: the token is refused, so nobody knows who the caller is, and those
// were asked for by who it was. c.mu is held.
func (c *Cache) dropCaller() {
	c.flights = map[string]*flight{}
	c.entries.dropAll()
	clear(c.late)
}

// forget drops what is known of path, and what reads under way are about to bring. c.mu is
// held.
func (c *Cache) forget(path string) {
	c.entries.drop(path)
	for f, of := range c.late {
		if of == path {
			delete(c.late, f)
		}
	}
}

// sweep drops, now and then, what may not be used any more.
func (c *Cache) sweep(ctx context.Context) {
	oldest := max(c.config.MaxAge, c.config.MaxStale)
	for sleep(ctx, sweepEvery) == nil {
		c.mu.Lock()
		if c.entries != nil {
			c.entries.dropBefore(time.Now().Add(-oldest))
		}
		c.mu.Unlock()
	}
}

// withCopy is s with a value of its own.
func withCopy(s Secret) Secret {
	s.Value = bytes.Clone(s.Value)
	return s
}
