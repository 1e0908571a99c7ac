package sdk

import (
	"context"
	"time"
)

// Hooks hear what a client does, for metrics and traces. Nil fields hear nothing. They
// never get a value. They are called by the goroutine that works, so they must not block.
type Hooks struct {
	// CacheRead hears of each [Cache.Get], also those of Follow, when it is over.
	CacheRead func(ctx context.Context, read CacheRead)
}

// CacheOutcome is what came of a read of a [Cache].
type CacheOutcome string

// The outcomes.
const (
	// CacheHit was answered from memory.
	CacheHit CacheOutcome = "hit"
	// CacheMiss was asked of the server; it may have failed.
	CacheMiss CacheOutcome = "miss"
	// CacheStale was answered with the last value because the server is away.
	CacheStale CacheOutcome = "stale"
)

// CacheRead is a read of a [Cache].
type CacheRead struct {
	Path    string
	Outcome CacheOutcome
	// Age is that of the value.
	Age time.Duration
	// Err is why there is no value or a stale one.
	Err error
}
