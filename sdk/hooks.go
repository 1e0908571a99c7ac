package sdk

import (
	"context"
	"time"
)

// Hooks hear what a client does, for metrics and traces. Nil fields hear nothing. They
// never get a value. They are called by the goroutine that works, so they must not block.
type Hooks struct {
	// Attempt hears of each request to the server, also those that repeat one, before it is
	// sent. The context that it returns is that of the request: a span in it is the parent
	// of what Config.HTTPClient makes. The function that it returns, when not nil, hears
	// what came of it; of a watch, a backup and a verification that is when they begin.
	Attempt func(ctx context.Context, a Attempt) (context.Context, func(AttemptResult))
	// CacheRead hears of each [Cache.Get], also those of Follow, when it is over.
	CacheRead func(ctx context.Context, read CacheRead)
}

// Attempt is a request to the server.
type Attempt struct {
	// Operation is the method and the route, such as "GET /v1/secret".
	Operation string
	// Path is what the request is about; empty when it is about no path or several.
	Path string
	// Number is 1 for the first attempt of a call.
	Number int
}

// AttemptResult is what came of an Attempt.
type AttemptResult struct {
	// Code is empty when it succeeded, and when what failed has no code.
	Code Code
	// Err is nil when it succeeded.
	Err      error
	Duration time.Duration
}

// begin tells of an attempt; the function that it returns tells what came of it.
func (h Hooks) begin(ctx context.Context, a Attempt) (context.Context, func(error)) {
	if h.Attempt == nil {
		return ctx, func(error) {}
	}
	began := time.Now()
	ctx, end := h.Attempt(ctx, a)
	return ctx, func(err error) {
		if end != nil {
			end(AttemptResult{Code: CodeOf(err), Err: err, Duration: time.Since(began)})
		}
	}
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
