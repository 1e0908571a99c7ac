package vault

import (
	"context"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

const (
	// keepChanges is how long a follower may be without its database and still find
	// every change when it is back.
	keepChanges = 7 * 24 * time.Hour
	// pruneEvery is how often older changes are removed.
	pruneEvery = time.Hour
)

// Follow gives handle every change that commits from now on, and those of the last
// minute, at least once, until ctx ends; then it returns nil. It waits out any
// trouble of Postgres and does without Redis: a change then arrives some seconds
// later. When handle fails its batch comes again.
func (e *Engine) Follow(ctx context.Context, handle func(context.Context, []changes.Change) error) error {
	ctx, cancel := context.WithCancel(ctx)
	pruned := make(chan struct{})
	go func() {
		defer close(pruned)
		e.pruneChanges(ctx)
	}()
	defer func() { cancel(); <-pruned }()
	observer := &followed{metrics: e.metrics}
	observer.CaughtUp()
	defer e.metrics.lag.forget(observer)
	follower := changes.Follower{Source: e.store, Waker: e.waker, Logger: e.logger, Observer: observer}
	return follower.Follow(ctx, handle)
}

func (e *Engine) pruneChanges(ctx context.Context) {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := e.store.PruneChanges(ctx, keepChanges); err != nil && ctx.Err() == nil {
				e.logger.WarnContext(ctx, "old changes were not removed; trying again later", "error", err)
			}
			if err := e.store.PruneIdempotencyKeys(ctx, e.now().Add(-secret.IdempotencyKeyLife)); err != nil && ctx.Err() == nil {
				e.logger.WarnContext(ctx, "old idempotency keys were not removed; trying again later", "error", err)
			}
		}
	}
}
