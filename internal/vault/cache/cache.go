// Package cache keeps sealed boxes in Redis. It holds nothing that is worth
// reading without the vault's keys, is asked only after policy and current
// version have been decided, and may lose or falsify everything: a box that does
// not open is a miss.
package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

const (
	// ttl is how long a box stays.
	ttl = 5 * time.Minute
	// timeout bounds one question: a slow Redis is worse than none.
	timeout = 150 * time.Millisecond
	// pause is how long Redis is left alone after it failed.
	pause = time.Second

	keyPrefix = "coffer:sealed:"
)

// Cache is a Redis cache of sealed boxes. A nil *Cache holds nothing.
type Cache struct {
	client  redis.UniversalClient
	breaker *gobreaker.CircuitBreaker[[]byte]
}

// New returns a cache on client, whose owner closes it.
func New(client redis.UniversalClient) *Cache {
	return &Cache{client: client, breaker: gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
		Name:         "redis-cache",
		Timeout:      pause,
		ReadyToTrip:  func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= 1 },
		IsSuccessful: isHealthy,
	})}
}

// isHealthy tells an answer, or a caller that went away, from a Redis in trouble.
func isHealthy(err error) bool {
	return err == nil || errors.Is(err, redis.Nil) || errors.Is(err, context.Canceled)
}

// Get returns the box under name, which the engine derives with a key, so that
// the names tell nothing. ok is false when there is none or Redis does not answer
// in time.
func (c *Cache) Get(ctx context.Context, name string) (box []byte, ok bool) {
	box, err := c.do(ctx, func(ctx context.Context) ([]byte, error) {
		return c.client.Get(ctx, keyPrefix+name).Bytes()
	})
	return box, err == nil
}

// Put keeps box under name for some minutes, if it can.
func (c *Cache) Put(ctx context.Context, name string, box []byte) {
	_, _ = c.do(ctx, func(ctx context.Context) ([]byte, error) {
		return nil, c.client.Set(ctx, keyPrefix+name, box, ttl).Err()
	})
}

var errNone = errors.New("no cache")

func (c *Cache) do(ctx context.Context, f func(context.Context) ([]byte, error)) ([]byte, error) {
	if c == nil {
		return nil, errNone
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.breaker.Execute(func() ([]byte, error) { return f(ctx) })
}
