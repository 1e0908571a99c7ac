package vault

import (
	"context"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

const (
	// keepChanges is how long a change is there for a follower that was away.
	keepChanges = 7 * 24 * time.Hour
	// pruneEvery is how often older changes are removed.
	pruneEvery = time.Hour
)

// Follow gives handle every change that commits from now on, and those of the last
// minute, at least once, until ctx ends; then it returns nil. It waits out any
// trouble of Postgres and does without Redis: a change then arrives some seconds
// later. When handle fails its batch comes again.
//
// It is for Coffer's own parts: nothing is authorised, and nothing audited. For callers
// there is Watch.
func (e *Engine) Follow(ctx context.Context, handle func(context.Context, []changes.Change) error) error {
	return e.follow(ctx, func(ctx context.Context, f *changes.Follower) error {
		return f.Follow(ctx, func(ctx context.Context, batch []changes.Change, _ changes.Cursor) error {
			if len(batch) == 0 {
				return nil
			}
			return handle(ctx, batch)
		})
	})
}

// FollowFrom is Follow from a position on, for a consumer that keeps the position it
// was given with the changes it took: after a restart it goes on there, and misses
// nothing.
//
// A place is kept for seven days after the first change that it has not had, and for
// as long as the database has the history it is from. Once changes after it may be
// missing the error is secret.ErrPositionLost, at the beginning or while following:
// then take the present position, list everything, and follow from there.
func (e *Engine) FollowFrom(ctx context.Context, from changes.Position, handle func(ctx context.Context, batch []changes.Change, next changes.Position) error) error {
	cursor, err := e.openPosition(from)
	if err != nil {
		return err
	}
	return e.follow(ctx, func(ctx context.Context, f *changes.Follower) error {
		return f.FollowFrom(ctx, cursor, func(ctx context.Context, batch []changes.Change, next changes.Cursor) error {
			if len(batch) == 0 {
				return nil
			}
			position, err := e.sealPosition(next)
			if err != nil {
				return err
			}
			return handle(ctx, batch, position)
		})
	})
}

// follow runs a follower that is observed, and removes old changes meanwhile.
func (e *Engine) follow(ctx context.Context, run func(context.Context, *changes.Follower) error) error {
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
	follower := e.follower()
	follower.Observer = observer
	return run(ctx, follower)
}

func (e *Engine) follower() *changes.Follower {
	f := &changes.Follower{Source: e.store, Logger: e.logger}
	if e.waker != nil {
		f.Waker = e.waker
	}
	return f
}

// pruneWithin bounds one removal, for a connection that is half open.
const pruneWithin = time.Minute

// pruneOnce removes what is too old, each in the time that one removal has: that one hangs costs the next nothing.
func (e *Engine) pruneOnce(ctx context.Context, within time.Duration) {
	for _, prune := range []struct {
		what   string
		remove func(context.Context) error
	}{
		{"changes", func(ctx context.Context) error { return e.store.PruneChanges(ctx, keepChanges) }},
		{"idempotency keys", func(ctx context.Context) error {
			return e.store.PruneIdempotencyKeys(ctx, e.now().Add(-secret.IdempotencyKeyLife))
		}},
		{"readers", func(ctx context.Context) error { return e.store.PruneReaders(ctx, e.now().Add(-e.readersHold())) }},
	} {
		limited, cancel := context.WithTimeout(ctx, within)
		if err := prune.remove(limited); err != nil && ctx.Err() == nil {
			e.logger.WarnContext(ctx, "what is too old was not removed; trying again later", "what", prune.what, "error", err)
		}
		cancel()
	}
}

// pruneChanges removes what is too old, at once and then every pruneEvery.
func (e *Engine) pruneChanges(ctx context.Context) {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		e.pruneOnce(ctx, pruneWithin)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
