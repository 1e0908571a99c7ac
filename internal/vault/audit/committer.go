package audit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/group"
)

// Limits of a Committer.
const (
	// MaxBatch is how many entries one flush writes.
	MaxBatch = 512
	// MaxQueue bounds the entries that wait: at about 1 KiB each a few MiB.
	MaxQueue = 4096
	// maxFlushes is how many flushes may be under way when they take longer than patience,
	// which is many times what one takes on a disk that is not in trouble.
	maxFlushes = 4
	patience   = 50 * time.Millisecond
)

// Errors of Commit, beside those of the flush.
var (
	ErrQueueFull = errors.New("too many entries wait to be written to the audit log; try again")
	ErrTooSlow   = errors.New("the audit log took too long to write")
)

// Committer makes entries durable, many in one transaction: entries that come while
// a flush is under way wait and go together in the next. Entries that nobody waits for
// any more are dropped: nothing was done in their name.
type Committer struct {
	// Flush makes entries durable, in their order, before it returns nil. It is called
	// from a few goroutines at most and has a time limit of its own.
	Flush func(entries []Entry) error
	// Observe, which may be nil, hears of each flush: how many entries it had, how many
	// wait behind it, and how long it took.
	Observe func(entries, waiting int, took time.Duration)

	once  sync.Once
	calls group.Calls[Entry, struct{}]
}

// Commit returns nil when all of entries, at most MaxBatch, are durable: they are written
// by one flush. When ctx ends first, they may become durable later or never.
func (c *Committer) Commit(ctx context.Context, entries ...Entry) error {
	c.once.Do(func() {
		c.calls.MaxBatch, c.calls.MaxQueue, c.calls.Observe = MaxBatch, MaxQueue, c.Observe
		c.calls.AtOnce, c.calls.Patience = maxFlushes, patience
		c.calls.Do = func(entries []Entry) ([]struct{}, error) { return make([]struct{}, len(entries)), c.Flush(entries) }
	})
	_, err := c.calls.AskTogether(ctx, entries)
	switch {
	case errors.Is(err, group.ErrQueueFull):
		return ErrQueueFull
	case errors.Is(err, group.ErrTooSlow):
		return errors.Join(ErrTooSlow, ctx.Err())
	}
	return err
}
