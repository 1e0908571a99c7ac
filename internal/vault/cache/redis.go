package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

const (
	// redisTTL is how long a box stays in Redis.
	redisTTL = 5 * time.Minute
	// redisTimeout bounds one question: a slow Redis is worse than none.
	redisTimeout = 150 * time.Millisecond
	// redisPause is how long Redis is left alone after it failed.
	redisPause = time.Second

	// maxBox bounds what is read of a box, in bytes: more than the largest value's box has. Who writes Redis
	// can put half a GiB there, and the client makes room for what is announced.
	maxBox = 1<<20 + 4<<10

	keyPrefix = "coffer:sealed:"
)

// Redis is the layer that replicas share. It does without Redis when that fails.
type Redis struct {
	client  redis.UniversalClient
	breaker *gobreaker.CircuitBreaker[[]byte]
}

// NewRedis returns a layer on client, whose owner closes it.
func NewRedis(client redis.UniversalClient) *Redis {
	return &Redis{client: client, breaker: gobreaker.NewCircuitBreaker[[]byte](gobreaker.Settings{
		Name:         "redis-cache",
		Timeout:      redisPause,
		ReadyToTrip:  func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= 1 },
		IsSuccessful: isHealthy,
	})}
}

// isHealthy tells an answer, or a caller that went away, from a Redis in trouble.
func isHealthy(err error) bool {
	return err == nil || errors.Is(err, redis.Nil) || errors.Is(err, context.Canceled)
}

// Name implements Layer.
func (*Redis) Name() string { return "redis" }

// Get implements Layer. Redis has no box when it does not answer in time. A box that is too long comes
// cut off, which its reader finds out as of any other false one.
func (r *Redis) Get(ctx context.Context, name string) (box []byte, ok bool) {
	box, err := r.do(ctx, func(ctx context.Context) ([]byte, error) {
		return r.client.GetRange(ctx, keyPrefix+name, 0, maxBox-1).Bytes()
	})
	return box, err == nil && len(box) > 0 // a key that is missing reads as empty
}

// Put implements Layer: it keeps box for some minutes, if it can.
func (r *Redis) Put(ctx context.Context, name string, box []byte) {
	_, _ = r.do(ctx, func(ctx context.Context) ([]byte, error) {
		return nil, r.client.Set(ctx, keyPrefix+name, box, redisTTL).Err()
	})
}

// Forget implements Layer.
func (r *Redis) Forget(ctx context.Context, name string) {
	_, _ = r.do(ctx, func(ctx context.Context) ([]byte, error) {
		return nil, r.client.Del(ctx, keyPrefix+name).Err()
	})
}

func (r *Redis) do(ctx context.Context, f func(context.Context) ([]byte, error)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return r.breaker.Execute(func() ([]byte, error) { return f(ctx) })
}
