package changes

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
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
	// ReadChanges returns the visible rows that are due at a cursor.
	ReadChanges(ctx context.Context, at Cursor) (Snapshot, error)
	// StartChanges returns the moment before everything that was written less than back
	// ago.
	StartChanges(ctx context.Context, back time.Duration) (Start, error)
}

// Waker says when the feed may have grown. It may be wrong both ways.
type Waker interface {
	// Run calls wake until ctx ends, and connected whenever it begins or ceases to
	// hear of changes. It returns when ctx ends.
	Run(ctx context.Context, wake func(), connected func(bool))
}

// Handler takes what one read found, in no promised order, and the cursor that stands
// after it. It is called after each read, also when there was nothing. When it fails
// the same changes come again.
type Handler func(ctx context.Context, batch []Change, next Cursor) error

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
	// database's clock, and the time since the answer came, by this process'. What is
	// there when following begins is not counted.
	Delivered(after time.Duration)
	// CaughtUp says that the handler has had every change that was visible.
	CaughtUp()
}

// Follow gives handle every change that commits from now on, and those of the
// last minute, at least once, until ctx ends; then it returns nil. A database that
// does not answer is waited for. When its place is lost, as it is in a database that
// went back to an older state, it begins anew with a Change of kind Policy without a
// position: anything may be different.
func (f *Follower) Follow(ctx context.Context, handle Handler) error {
	return f.follow(ctx, &run{handle: handle, began: time.Now()})
}

// FollowFrom is Follow from a cursor on. When the place is lost, at the beginning or
// later, it returns secret.ErrPositionLost.
func (f *Follower) FollowFrom(ctx context.Context, from Cursor, handle Handler) error {
	return f.follow(ctx, &run{handle: handle, cursor: &from, resumed: true})
}

func (f *Follower) follow(ctx context.Context, run *run) error {
	run.follower, run.signals = f, newSignals()
	if f.Waker != nil {
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.Waker.Run(ctx, run.signals.wake, run.signals.setConnected)
		}()
		defer func() { cancel(); <-done }()
	}
	for ctx.Err() == nil {
		pause, err := run.step(ctx)
		if err != nil {
			return err
		}
		run.wait(ctx, pause)
	}
	return nil
}

// run is the state of one Follow.
type run struct {
	follower *Follower
	signals  *signals
	handle   Handler
	resumed  bool      // following began at a cursor of the caller's
	cursor   *Cursor   // nil before the database was asked where to begin
	began    time.Time // when following began, or began anew
	anew     bool      // it began anew, and the handler was not told yet
	current  bool      // the handler has had all that was there when following began
	failing  bool      // the database did not answer last time
}

// step reads and delivers once. It returns how long to wait for a signal: 0 is not
// at all. Its error is that the place is lost, and not to be mended here.
func (r *run) step(ctx context.Context) (time.Duration, error) {
	snapshot, err := r.read(ctx)
	answered := time.Now()
	r.logOutage(ctx, err)
	if err != nil {
		return pollAlone, nil
	}
	if lost := r.cursor.Lost(snapshot); lost != nil {
		if r.resumed {
			return 0, lost
		}
		r.follower.Logger.WarnContext(ctx, "the place in the change feed is lost; following anew", "error", lost)
		r.cursor, r.began, r.anew, r.current = nil, time.Now(), true, false
		return 0, nil
	}
	next := r.cursor.Advance(snapshot)
	if err := r.handle(ctx, r.batch(snapshot.Rows), next); err != nil {
		if ctx.Err() == nil {
			r.follower.Logger.WarnContext(ctx, "changes were not handled; they will be delivered again", "error", err, "changes", len(snapshot.Rows))
		}
		return retryHandler, nil
	}
	r.cursor, r.anew = &next, false
	r.observe(snapshot, time.Since(answered))
	if snapshot.Truncated {
		return 0, nil
	}
	return r.signals.pollInterval(), nil
}

func (r *run) read(ctx context.Context) (Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if r.cursor == nil {
		// However long the database did not answer, nothing since began is left out.
		start, err := r.follower.Source.StartChanges(ctx, overlap+time.Since(r.began))
		if err != nil {
			return Snapshot{}, err
		}
		cursor := NewCursor(start)
		r.cursor = &cursor
	}
	return r.follower.Source.ReadChanges(ctx, *r.cursor)
}

// batch is what the handler gets of rows. It has them in the order of writing, in
// which those of one path stand as they were committed.
func (r *run) batch(rows []Row) []Change {
	batch := make([]Change, 0, len(rows)+1)
	for _, row := range rows {
		if !row.Foreign {
			batch = append(batch, row.Change)
		}
	}
	slices.SortFunc(batch, func(a, b Change) int { return cmp.Compare(a.Position, b.Position) })
	if r.anew {
		batch = slices.Insert(batch, 0, Change{Kind: Policy})
	}
	return batch
}

// observe reports that the handler took the rows of snapshot, some time after the
// database's answer.
func (r *run) observe(snapshot Snapshot, handling time.Duration) {
	observer := r.follower.Observer
	if observer == nil {
		return
	}
	if r.current {
		for _, row := range snapshot.Rows {
			if !row.Foreign {
				observer.Delivered(max(0, snapshot.Now.Sub(row.CommittedAt)) + handling)
			}
		}
	}
	if !snapshot.Truncated {
		r.current = true
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
