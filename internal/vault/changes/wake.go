package changes

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// blockFor is how long one XREAD waits for an entry.
	blockFor = 5 * time.Second
	// reconnectAfter is the wait before Redis is tried again.
	reconnectAfter = 500 * time.Millisecond
)

// RedisWaker hears of changes on Stream.
type RedisWaker struct{ options *redis.Options }

// NewRedisWaker returns a waker that connects with options. It uses a client of
// its own: a blocked read ends only when its connection is closed.
func NewRedisWaker(options *redis.Options) *RedisWaker { return &RedisWaker{options} }

// Run implements Waker.
func (w *RedisWaker) Run(ctx context.Context, wake func(), connected func(bool)) {
	client := redis.NewClient(w.clientOptions())
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer func() {
		if stop() {
			_ = client.Close()
		}
	}()
	last := "" // the id of the last entry heard; "" before the stream was looked at
	for ctx.Err() == nil {
		next, err := w.read(ctx, client, last)
		if err != nil {
			connected(false)
			pause(ctx, reconnectAfter)
			continue
		}
		connected(true)
		if last != "" && next != last {
			wake()
		}
		last = next
	}
	connected(false)
}

// read returns the id of the newest entry: at once when last is "", and otherwise
// when there is one after last, or after blockFor.
func (w *RedisWaker) read(ctx context.Context, client *redis.Client, last string) (string, error) {
	if last == "" {
		newest, err := client.XRevRangeN(ctx, Stream, "+", "-", 1).Result()
		if err != nil {
			return "", err
		}
		if len(newest) == 0 {
			return "0-0", nil
		}
		return newest[0].ID, nil
	}
	streams, err := client.XRead(ctx, &redis.XReadArgs{Streams: []string{Stream, last}, Count: streamLength, Block: blockFor}).Result()
	if errors.Is(err, redis.Nil) {
		return last, nil
	}
	if err != nil {
		return "", err
	}
	for _, stream := range streams {
		if n := len(stream.Messages); n > 0 {
			last = stream.Messages[n-1].ID
		}
	}
	return last, nil
}

func (w *RedisWaker) clientOptions() *redis.Options {
	options := *w.options
	options.ReadTimeout = blockFor + time.Second
	options.PoolSize = 1
	return &options
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
