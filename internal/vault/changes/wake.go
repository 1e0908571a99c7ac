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

// RedisConnector makes clients for commands that block. stale reports that the
// client's Redis, or what it logged in with, is not the configured one any more.
type RedisConnector interface {
	Dedicated(ctx context.Context, readTimeout time.Duration) (client redis.UniversalClient, stale func() bool, err error)
}

// RedisWaker hears of changes on Stream.
type RedisWaker struct{ connector RedisConnector }

// NewRedisWaker returns a waker with clients of its own from connector: a blocked
// read ends only when its connection is closed.
func NewRedisWaker(connector RedisConnector) *RedisWaker { return &RedisWaker{connector} }

// Run implements Waker.
func (w *RedisWaker) Run(ctx context.Context, wake func(), connected func(bool)) {
	for ctx.Err() == nil {
		if err := w.listen(ctx, wake, connected); err != nil {
			connected(false)
			pause(ctx, reconnectAfter)
		}
	}
	connected(false)
}

// listen reads with one client until that fails, or its address is not the one in
// force any more. The next one begins at the newest entry there is: what came between
// is not lost, since a new connection wakes too.
func (w *RedisWaker) listen(ctx context.Context, wake func(), connected func(bool)) error {
	client, stale, err := w.connector.Dedicated(ctx, blockFor+time.Second)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer func() {
		if stop() {
			_ = client.Close()
		}
	}()
	last, err := newestEntry(ctx, client) // the last entry heard
	for ctx.Err() == nil && !stale() && err == nil {
		connected(true)
		last, err = w.hear(ctx, client, last, wake)
	}
	if err != nil {
		return err
	}
	// Entries between this client and the next were not heard.
	wake()
	return nil
}

// hear waits for an entry after last, for blockFor at most, calls wake for what there is,
// and returns the newest entry. That may be a lower one than last when none came, in a
// stream that was emptied, or is another after a failover: nothing in it would ever come
// after last.
func (w *RedisWaker) hear(ctx context.Context, client redis.UniversalClient, last string, wake func()) (string, error) {
	// That there is one is enough to know, and an entry may be large when somebody else wrote it.
	streams, err := client.XRead(ctx, &redis.XReadArgs{Streams: []string{Stream, last}, Count: 1, Block: blockFor}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", err
	}
	heard := last
	if len(streams) == 1 && len(streams[0].Messages) == 1 {
		heard = streams[0].Messages[0].ID
		wake() // before anything else: somebody waits for it
	}
	newest, err := newestEntry(ctx, client)
	if err == nil && newest != heard {
		wake()
	}
	return newest, err
}

// newestEntry is the id of the stream's newest entry, below all others when it is
// empty.
func newestEntry(ctx context.Context, client redis.UniversalClient) (string, error) {
	newest, err := client.XRevRangeN(ctx, Stream, "+", "-", 1).Result()
	if err != nil {
		return "", err
	}
	if len(newest) == 0 {
		return "0-0", nil
	}
	return newest[0].ID, nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
