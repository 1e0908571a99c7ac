package changes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
)

const (
	// Stream is the Redis stream that gets an entry for each change. It holds ids
	// and names only.
	Stream = "coffer:changes"
	// Channel is the Redis channel on which each version that became current is published as
	// {"path":"…","version":7}, for consumers outside Coffer.
	Channel = "vault:rotated"

	// streamLength bounds the stream, about: the table is the feed, the stream only
	// wakes.
	streamLength = 10_000
	// announceQueue bounds the changes that wait for Redis. What does not fit is found
	// by polling.
	announceQueue = 1024
	// announceBatch bounds the changes sent in one round trip.
	announceBatch = 128
	// announceTimeout bounds one round trip, and what closing waits for.
	announceTimeout = 250 * time.Millisecond
	// breakerPause is how long Redis is left alone after it failed.
	breakerPause = time.Second
)

// ErrQueueFull says that a change was not announced, as too many wait for Redis.
var ErrQueueFull = errors.New("too many changes wait for Redis already")

// Announcer tells Redis of committed changes, behind the back of who wrote them: a
// Redis that hangs costs a writer nothing. Nothing depends on it: a change that is not
// announced is found by the poll.
type Announcer struct {
	client  redis.UniversalClient
	breaker *gobreaker.CircuitBreaker[struct{}]
	queue   chan Change
	observe func(changes int, err error)

	closing chan struct{}
	sender  sync.WaitGroup
}

// NewAnnouncer returns an announcer on client, whose owner closes it after the
// announcer. Start it, and Close it after the last Announce.
func NewAnnouncer(client redis.UniversalClient) *Announcer {
	return &Announcer{
		client: client, queue: make(chan Change, announceQueue), closing: make(chan struct{}),
		breaker: gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
			Name:        "redis-announce",
			Timeout:     breakerPause,
			ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= 1 },
		}),
	}
}

// Start begins to send. observe hears of each batch how many changes it had, and
// whether they were announced; it may be called by several goroutines at once.
func (a *Announcer) Start(observe func(changes int, err error)) {
	a.observe = observe
	a.sender.Go(a.run)
}

// Announce has change written to the stream, and to the channel when it is a new
// version. It never waits.
func (a *Announcer) Announce(change Change) {
	select {
	case a.queue <- change:
	default:
		a.observe(1, fmt.Errorf("announce a change on Redis: %w", ErrQueueFull))
	}
}

// Close sends what still waits; a Redis that hangs holds it up for two
// announceTimeouts at most.
func (a *Announcer) Close() {
	close(a.closing)
	a.sender.Wait()
}

func (a *Announcer) run() {
	for {
		select {
		case change := <-a.queue:
			a.flush(a.gather(change))
		case <-a.closing:
			a.drain()
			return
		}
	}
}

// gather adds what waits already to first.
func (a *Announcer) gather(first Change) []Change {
	batch := []Change{first}
	for len(batch) < announceBatch {
		select {
		case change := <-a.queue:
			batch = append(batch, change)
		default:
			return batch
		}
	}
	return batch
}

// drain sends what waits. Once Redis does not answer in time the breaker is open, and
// the rest costs nothing.
func (a *Announcer) drain() {
	for {
		select {
		case change := <-a.queue:
			a.flush(a.gather(change))
		default:
			return
		}
	}
}

func (a *Announcer) flush(batch []Change) {
	ctx, cancel := context.WithTimeout(context.Background(), announceTimeout)
	defer cancel()
	_, err := a.breaker.Execute(func() (struct{}, error) { return struct{}{}, a.send(ctx, batch) })
	if err != nil {
		err = fmt.Errorf("announce %d changes on Redis: %w", len(batch), err)
	}
	a.observe(len(batch), err)
}

// message is what Channel carries.
type message struct {
	Path    string `json:"path"`
	Version int64  `json:"version"`
}

func (a *Announcer) send(ctx context.Context, batch []Change) error {
	pipe := a.client.Pipeline()
	for _, change := range batch {
		pipe.XAdd(ctx, &redis.XAddArgs{
			Stream: Stream, MaxLen: streamLength, Approx: true,
			Values: []any{"kind", string(change.Kind), "path", change.Path.String(), "version", change.Version},
		})
		if change.Kind.movesCurrent() {
			payload, err := json.Marshal(message{change.Path.String(), change.Version})
			if err != nil {
				return err
			}
			pipe.Publish(ctx, Channel, payload)
		}
	}
	_, err := pipe.Exec(ctx)
	return err
}
