// Package group does in few calls what many callers ask at one time: the first question is answered at once, and what
// comes while a call is under way goes together in the next. So one caller waits for nothing, and many share what a
// call costs: a round trip, a statement, a commit.
//
// A question is always part of a call that begins after it was asked. What a call reads is therefore never older than
// the question; an answer that is under way is not shared with who comes later.
package group

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of Ask, beside those of the call.
var (
	ErrQueueFull = errors.New("too many wait already; try again")
	ErrTooSlow   = errors.New("it took too long")
)

// Calls groups questions of type Q with answers of type A. It has no goroutine while nothing is asked.
type Calls[Q, A any] struct {
	// Do answers questions, in their order, or fails for all of them. It has a time limit of its own.
	Do func(questions []Q) ([]A, error)
	// MaxBatch is how many questions one call answers, and MaxQueue how many may wait.
	MaxBatch, MaxQueue int
	// AtOnce is how many calls may be under way. One is as a rule: more would be smaller. The next goes beside those
	// that have taken Patience, so that what hangs, such as a broken connection, holds up nobody else.
	AtOnce   int
	Patience time.Duration
	// Observe, which may be nil, hears of each call: how many questions it had, how many wait behind it, and how long
	// it took.
	Observe func(questions, waiting int, took time.Duration)

	mu    sync.Mutex
	queue []*question[Q, A]
	calls []*call // under way
	armed bool    // beside is to come
}

// call is one after the other, until nothing waits.
type call struct{ began time.Time }

type question[Q, A any] struct {
	asked Q
	// together is how many questions, from this one on, belong into one call.
	together int
	answered chan struct{}
	answer   A
	err      error
	gone     atomic.Bool // nobody waits for it any more
}

// Ask returns the answer to q. When ctx ends first, q may be part of a call later or never.
func (c *Calls[Q, A]) Ask(ctx context.Context, q Q) (A, error) {
	p := &question[Q, A]{asked: q, together: 1, answered: make(chan struct{})}
	if !c.enqueue(p) {
		return p.answer, ErrQueueFull
	}
	return p.wait(ctx)
}

// AskTogether returns the answers to qs, at most MaxBatch, which are questions of one call. When ctx ends first, they may
// be part of one later or never.
func (c *Calls[Q, A]) AskTogether(ctx context.Context, qs []Q) ([]A, error) {
	batch := make([]*question[Q, A], len(qs))
	for i, q := range qs {
		batch[i] = &question[Q, A]{asked: q, together: len(qs) - i, answered: make(chan struct{})}
	}
	if !c.enqueue(batch...) {
		return nil, ErrQueueFull
	}
	answers := make([]A, len(qs))
	var failed error
	for i, p := range batch {
		var err error
		if answers[i], err = p.wait(ctx); err != nil && failed == nil {
			failed = err
		}
	}
	return answers, failed
}

// wait returns the answer once it is there.
func (p *question[Q, A]) wait(ctx context.Context) (A, error) {
	select {
	case <-p.answered:
		return p.answer, p.err
	case <-ctx.Done():
		p.gone.Store(true)
		var none A
		return none, errors.Join(ErrTooSlow, ctx.Err())
	}
}

// enqueue takes all of batch or nothing.
func (c *Calls[Q, A]) enqueue(batch ...*question[Q, A]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue)+len(batch) > c.MaxQueue {
		return false
	}
	c.queue = append(c.queue, batch...)
	c.start()
	return true
}

// start begins a call where one is due, or sees to it that one begins when the newest under way has taken too long.
func (c *Calls[Q, A]) start() {
	if len(c.calls) >= max(1, c.AtOnce) {
		return
	}
	now := time.Now()
	left := time.Duration(0)
	for _, under := range c.calls {
		left = max(left, c.Patience-now.Sub(under.began))
	}
	switch {
	case left <= 0:
		next := &call{began: now}
		c.calls = append(c.calls, next)
		go c.run(next)
	case !c.armed:
		c.armed = true
		time.AfterFunc(left, c.beside)
	}
}

// beside looks whether what waits has waited long enough for the newest call.
func (c *Calls[Q, A]) beside() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
	if len(c.queue) > 0 {
		c.start()
	}
}

// run calls Do until nothing waits.
func (c *Calls[Q, A]) run(own *call) {
	for {
		batch, waiting := c.take(own)
		if batch == nil {
			return
		}
		questions := make([]Q, len(batch))
		for i, p := range batch {
			questions[i] = p.asked
		}
		start := time.Now()
		answers, err := c.Do(questions)
		if c.Observe != nil {
			c.Observe(len(questions), waiting, time.Since(start))
		}
		for i, p := range batch {
			if p.err = err; err == nil {
				p.answer = answers[i]
			}
			close(p.answered)
		}
	}
}

// take removes the next batch from the queue for own; nil ends it. Questions that nobody waits for any more are dropped.
func (c *Calls[Q, A]) take(own *call) (batch []*question[Q, A], waiting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, p := range c.queue {
		if len(batch) > 0 && len(batch)+p.together > c.MaxBatch {
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
		c.calls = slices.DeleteFunc(c.calls, func(other *call) bool { return other == own })
		c.queue = nil // lets go of what it held
		return nil, 0
	}
	own.began = time.Now()
	if len(c.queue) > 0 {
		c.start() // who waits behind this one is held up by it alone
	}
	return batch, len(c.queue)
}
