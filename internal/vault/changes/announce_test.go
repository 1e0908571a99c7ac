package changes_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	redisserver "github.com/coffer-vault/coffer/internal/testkit/redis"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// redisURL is testkit.Redis without what else testkit brings along, which a fuzz target
// would have instrumented.
func redisURL(t *testing.T) string {
	t.Helper()
	server, err := redisserver.Start(t.Context())
	if err != nil {
		t.Fatalf("starting Redis: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server.URL()
}

func redisClient(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// counted starts the announcer and counts what it reports.
func counted(a *changes.Announcer) (ok, failed *atomic.Int64) {
	ok, failed = new(atomic.Int64), new(atomic.Int64)
	a.Start(func(n int, err error) {
		if err != nil {
			failed.Add(int64(n))
			return
		}
		ok.Add(int64(n))
	})
	return ok, failed
}

func put(t *testing.T) changes.Change {
	t.Helper()
	path, err := secret.ParsePath("a/b")
	if err != nil {
		t.Fatal(err)
	}
	return changes.Change{Kind: changes.Put, Path: path, Version: 1}
}

// TestClosingAnnouncesWhatWaits: a process that stops in order takes nothing with it.
func TestClosingAnnouncesWhatWaits(t *testing.T) {
	client := redisClient(t, redisURL(t))
	a := changes.NewAnnouncer(client)
	ok, failed := counted(a)
	const n = 500
	for range n {
		a.Announce(put(t))
	}
	a.Close()
	if length := client.XLen(t.Context(), changes.Stream).Val(); length != n || ok.Load() != n || failed.Load() != 0 {
		t.Errorf("the stream has %d entries, %d counted as announced and %d as failed; want %d", length, ok.Load(), failed.Load(), n)
	}
}

// TestStuckSenderHoldsUpNobody: announcing never waits, not even for a sender that
// does not come back at all, and the queue is bounded.
func TestStuckSenderHoldsUpNobody(t *testing.T) {
	a := changes.NewAnnouncer(redisClient(t, redisURL(t)))
	stuck, refused := make(chan struct{}), 0
	a.Start(func(_ int, err error) {
		if errors.Is(err, changes.ErrQueueFull) {
			refused++ // by the announcing goroutine: this one
			return
		}
		<-stuck
	})
	for range 5_000 {
		a.Announce(put(t))
	}
	if refused < 3_000 {
		t.Errorf("%d of 5000 were refused", refused)
	}
	close(stuck)
	a.Close()
}

// TestHangingRedisHoldsUpNobody: what is announced while Redis hangs is counted, and
// closing takes a moment only.
func TestHangingRedisHoldsUpNobody(t *testing.T) {
	url := redisURL(t)
	a := changes.NewAnnouncer(redisClient(t, url))
	ok, failed := counted(a)
	if err := redisClient(t, url).Do(t.Context(), "CLIENT", "PAUSE", "60000", "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	const n = 50_000
	change, begin := put(t), time.Now()
	for range n {
		a.Announce(change)
	}
	// A round trip to a Redis that hangs takes 250 ms: 50,000, or one for each batch of
	// them, would take far longer.
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("%d announcements took %v", n, took)
	}
	begin = time.Now()
	a.Close()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
	if ok.Load() != 0 || failed.Load() != n {
		t.Errorf("%d counted as announced and %d as failed, want all %d", ok.Load(), failed.Load(), n)
	}
}
