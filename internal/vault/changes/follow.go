package changes

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

const (
	// overlap is how far back a new follower starts: what was read by others in
	// this process shortly before it began is delivered too.
	overlap = time.Minute
	// pollConnected is the safety poll while the Waker works.
	pollConnected = 5 * time.Second
	// pollAlone is the poll while it does not.
	pollAlone = 2 * time.Second
	// readTimeout bounds one read of the feed: a connection that is half open must
	// not hold a follower forever.
	readTimeout = 15 * time.Second
	// retryHandler is the wait before rows are given again to a handler that failed.
	retryHandler = time.Second
)

// Source reads the feed.
type Source interface {
	// ReadChanges returns the visible rows with a transaction id of at least horizon
	// and a position not in except.
	ReadChanges(ctx context.Context, horizon uint64, except []int64) (Snapshot, error)
	// ReadRecentChanges returns the visible rows whose transaction id is at least the
	// snapshot's xmin, or that were written less than d ago.
	ReadRecentChanges(ctx context.Context, d time.Duration) (Snapshot, error)
}

// Waker says when the feed may have grown. It may be wrong both ways.
type Waker interface {
	// Run calls wake until ctx ends, and connected whenever it begins or ceases to
	// hear of changes. It returns when ctx ends.
	Run(ctx context.Context, wake func(), connected func(bool))
}

// Handler takes a batch of changes, in no promised order. When it fails the batch
// comes again.
type Handler func(context.Context, []Change) error

// Follower reads a Source for one Handler.
type Follower struct {
	Source Source
	// Waker may be nil: then the follower polls.
	Waker  Waker
	Logger *slog.Logger
	// Observer may be nil.
	Observer Observer
}

// Observer hears how a follower gets on. It is called by the goroutine of Follow.
type Observer interface {
	// Delivered gives the time from a change's CommittedAt to the handler's return.
	// No two clocks are compared: it is the change's age when it was read, by the
	// database's clock, and the time since the answer came, by this process'. What the
	// first read of a Follow finds is from before it, and not counted.
	Delivered(after time.Duration)
	// CaughtUp says that the handler has had every change that was visible.
	CaughtUp()
}

// Follow gives handle every change that commits from now on, and those of the
// last minute, at least once, until ctx ends; then it returns nil. A database that
// does not answer is waited for. One that went back to an older state gives a
// Change of kind Policy without a position: anything may be different.
func (f *Follower) Follow(ctx context.Context, handle Handler) error {
	signals := newSignals()
	if f.Waker != nil {
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.Waker.Run(ctx, signals.wake, signals.setConnected)
		}()
		defer func() { cancel(); <-done }()
	}
	run := &run{follower: f, signals: signals, handle: handle, began: time.Now()}
	for ctx.Err() == nil {
		run.wait(ctx, run.step(ctx))
	}
	return nil
}

// run is the state of one Follow.
type run struct {
	follower *Follower
	signals  *signals
	handle   Handler
	cursor   *Cursor   // nil before the first read
	began    time.Time // when following began, or began anew
	wentBack bool      // the database went back, and the handler was not told yet
	failing  bool      // the database did not answer last time
}

// step reads and delivers once. It returns how long to wait for a signal: 0 is not
// at all.
func (r *run) step(ctx context.Context) time.Duration {
	snapshot, err := r.read(ctx)
	answered := time.Now()
	r.logOutage(ctx, err)
	if err != nil {
		return pollAlone
	}
	if r.cursor != nil && r.cursor.Behind(snapshot) {
		r.follower.Logger.WarnContext(ctx, "the database's transaction ids went back; following anew")
		r.cursor, r.began, r.wentBack = nil, time.Now(), true
		return 0
	}
	if err := r.deliver(ctx, snapshot.Rows); err != nil {
		if ctx.Err() == nil {
			r.follower.Logger.WarnContext(ctx, "changes were not handled; they will be delivered again", "error", err, "changes", len(snapshot.Rows))
		}
		return retryHandler
	}
	r.observe(snapshot, time.Since(answered))
	if r.cursor == nil {
		r.cursor = NewCursor(snapshot)
	} else {
		r.cursor.Advance(snapshot)
	}
	if snapshot.Truncated {
		return 0
	}
	return r.signals.pollInterval()
}

func (r *run) read(ctx context.Context) (Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if r.cursor == nil {
		// However long the database did not answer, nothing since began is left out.
		return r.follower.Source.ReadRecentChanges(ctx, overlap+time.Since(r.began))
	}
	return r.follower.Source.ReadChanges(ctx, r.cursor.Horizon(), r.cursor.Delivered())
}

func (r *run) deliver(ctx context.Context, rows []Row) error {
	batch := make([]Change, 0, len(rows)+1)
	if r.wentBack {
		batch = append(batch, Change{Kind: Policy})
	}
	for _, row := range rows {
		if !row.Foreign {
			batch = append(batch, row.Change)
		}
	}
	if len(batch) == 0 {
		return nil
	}
	if err := r.handle(ctx, batch); err != nil {
		return err
	}
	r.wentBack = false
	return nil
}

// observe reports that the handler took the rows of snapshot, some time after the
// database's answer.
func (r *run) observe(snapshot Snapshot, handling time.Duration) {
	observer := r.follower.Observer
	if observer == nil {
		return
	}
	if r.cursor != nil {
		for _, row := range snapshot.Rows {
			if !row.Foreign {
				observer.Delivered(max(0, snapshot.Now.Sub(row.CommittedAt)) + handling)
			}
		}
	}
	if !snapshot.Truncated {
		observer.CaughtUp()
	}
}

func (r *run) logOutage(ctx context.Context, err error) {
	failing := err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled)
	if failing && !r.failing {
		r.follower.Logger.WarnContext(ctx, "the change feed cannot be read; trying again", "error", err)
	}
	if !failing && r.failing {
		r.follower.Logger.InfoContext(ctx, "the change feed can be read again")
	}
	r.failing = failing
}

func (r *run) wait(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-r.signals.woken:
	}
}
