package audit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a Committer.
const (
	// MaxBatch is how many entries one flush writes.
	MaxBatch = 512
	// MaxQueue bounds the entries that wait: at about 1 KiB each a few MiB.
	MaxQueue = 4096
	// maxFlushes is how many flushes may be under way. While one waits for the disk the
	// next can be sent.
	maxFlushes = 2
)

// Errors of Commit, beside those of the flush.
var (
	ErrQueueFull = errors.New("too many entries wait to be written to the audit log; try again")
	ErrTooSlow   = errors.New("the audit log took too long to write")
)

// Committer makes entries durable, many in one transaction: entries that come while
// a flush is under way wait and go together in the next. It has no goroutine while
// there is nothing to write.
type Committer struct {
	// Flush makes entries durable, in their order, before it returns nil. It is called
	// from two goroutines at most and has a time limit of its own.
	Flush func(entries []Entry) error
	// Observe, which may be nil, hears of each flush: how many entries it had, how many
	// wait behind it, and how long it took.
	Observe func(entries, waiting int, took time.Duration)

	mu       sync.Mutex
	queue    []*pending
	flushing int
}

type pending struct {
	entry Entry
	done  chan error
	gone  atomic.Bool // its caller waits no more
}

// Commit returns nil when e is durable. When ctx ends first, e may become durable
// later or never.
func (c *Committer) Commit(ctx context.Context, e Entry) error {
	p := &pending{entry: e, done: make(chan error, 1)}
	c.mu.Lock()
	if len(c.queue) >= MaxQueue {
		c.mu.Unlock()
		return ErrQueueFull
	}
	c.queue = append(c.queue, p)
	if c.flushing < maxFlushes {
		c.flushing++
		go c.run()
	}
	c.mu.Unlock()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		p.gone.Store(true)
		return errors.Join(ErrTooSlow, ctx.Err())
	}
}

// run flushes until nothing waits.
func (c *Committer) run() {
	for {
		batch, waiting := c.take()
		if batch == nil {
			return
		}
		entries := make([]Entry, len(batch))
		for i, p := range batch {
			entries[i] = p.entry
		}
		start := time.Now()
		err := c.Flush(entries)
		if c.Observe != nil {
			c.Observe(len(entries), waiting, time.Since(start))
		}
		for _, p := range batch {
			p.done <- err
		}
	}
}

// take removes the next batch from the queue; nil ends the flush loop. Entries that
// nobody waits for any more are dropped: nothing was done in their name.
func (c *Committer) take() (batch []*pending, waiting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.queue {
		if len(batch) == MaxBatch {
			break
		}
		n++
		if !p.gone.Load() {
			batch = append(batch, p)
		}
	}
	clear(c.queue[:n])
	c.queue = c.queue[n:]
	if len(batch) == 0 {
		c.flushing--
		c.queue = nil // lets go of what it held
	}
	return batch, len(c.queue)
}
