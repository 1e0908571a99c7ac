package changes

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

const (
	// Stream is the Redis stream that gets an entry for each change. It holds ids
	// and names only.
	Stream = "coffer:changes"
	// Channel is the Redis channel on which each new version is published as
	// {"path":"…","version":7}, for consumers outside Coffer.
	Channel = "vault:rotated"

	// streamLength bounds the stream, about: the table is the feed, the stream only
	// wakes.
	streamLength = 10_000
	// announceTimeout bounds what a writer waits for Redis after its commit.
	announceTimeout = 250 * time.Millisecond
	// breakerPause is how long Redis is left alone after it failed.
	breakerPause = time.Second
)

// Announcer tells Redis of committed changes. Nothing depends on it: a change
// that is not announced is found by the poll.
type Announcer struct {
	client  redis.UniversalClient
	breaker *gobreaker.CircuitBreaker[struct{}]
}

// NewAnnouncer returns an announcer on client, whose owner closes it.
func NewAnnouncer(client redis.UniversalClient) *Announcer {
	return &Announcer{client: client, breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        "redis-announce",
		Timeout:     breakerPause,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= 1 },
	})}
}

// message is what Channel carries.
type message struct {
	Path    string `json:"path"`
	Version int64  `json:"version"`
}

// Announce writes change to the stream, and to the channel when it is a new
// version. It takes at most announceTimeout, also when ctx has ended.
func (a *Announcer) Announce(ctx context.Context, change Change) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceTimeout)
	defer cancel()
	_, err := a.breaker.Execute(func() (struct{}, error) { return struct{}{}, a.send(ctx, change) })
	if err != nil {
		return fmt.Errorf("announce a change on Redis: %w", err)
	}
	return nil
}

func (a *Announcer) send(ctx context.Context, change Change) error {
	pipe := a.client.Pipeline()
	pipe.XAdd(ctx, &redis.XAddArgs{
		Stream: Stream, MaxLen: streamLength, Approx: true,
		Values: []any{"kind", string(change.Kind), "path", change.Path.String(), "version", change.Version},
	})
	if change.Kind == Put || change.Kind == Rotate {
		payload, err := json.Marshal(message{change.Path.String(), change.Version})
		if err != nil {
			return err
		}
		pipe.Publish(ctx, Channel, payload)
	}
	_, err := pipe.Exec(ctx)
	return err
}
