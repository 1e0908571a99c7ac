package changes_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// scripted is a source whose reads are given; it ends the follower after the last.
type scripted struct {
	starts []func() (changes.Start, error) // a Start at the beginning when there is none
	reads  []func() (changes.Snapshot, error)
	asked  []time.Duration // of StartChanges
	end    context.CancelFunc
}

func (s *scripted) ReadChanges(context.Context, changes.Cursor) (changes.Snapshot, error) {
	if len(s.reads) == 0 {
		s.end()
		return changes.Snapshot{}, context.Canceled
	}
	read := s.reads[0]
	s.reads = s.reads[1:]
	return read()
}

func (s *scripted) StartChanges(_ context.Context, back time.Duration) (changes.Start, error) {
	s.asked = append(s.asked, back)
	if len(s.starts) == 0 {
		return changes.Start{Newest: changes.Witness{Position: 1, XID: 1}}, nil
	}
	start := s.starts[0]
	s.starts = s.starts[1:]
	return start()
}

func rows(witnessed bool, rows ...changes.Row) func() (changes.Snapshot, error) {
	return func() (changes.Snapshot, error) { return changes.Snapshot{Witnessed: witnessed, Rows: rows}, nil }
}

func row(position int64) changes.Row {
	return changes.Row{XID: uint64(position), Change: changes.Change{Position: position, Kind: changes.Put}}
}

// runScript follows source, from a cursor if there is one, until its script ends, and
// returns what was handled, without what was empty.
func runScript(t *testing.T, source *scripted, from *changes.Cursor, refuse int) (handled [][]changes.Change, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	source.end = cancel
	follower := changes.Follower{Source: source, Logger: slog.New(slog.DiscardHandler)}
	handle := func(_ context.Context, batch []changes.Change, _ changes.Cursor) error {
		if refuse > 0 {
			refuse--
			return errors.New("not now")
		}
		if len(batch) > 0 {
			handled = append(handled, batch)
		}
		return nil
	}
	if from != nil {
		err = follower.FollowFrom(ctx, *from, handle)
	} else {
		err = follower.Follow(ctx, handle)
	}
	return handled, err
}

func wantHandled(t *testing.T, got [][]changes.Change, want ...[]changes.Change) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b changes.Change) bool { return a == b })); diff != "" {
		t.Errorf("handled (-want +got):\n%s", diff)
	}
}

// TestFollowThroughAnOutageAtTheStart: the start that succeeds looks back to
// a minute before following began, not before now.
func TestFollowThroughAnOutageAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{reads: []func() (changes.Snapshot, error){rows(true, row(7))}}
		for range 5 {
			source.starts = append(source.starts, func() (changes.Start, error) {
				<-time.After(time.Hour) // of the bubble's clock
				return changes.Start{}, errors.New("down")
			})
		}
		if _, err := runScript(t, source, nil, 0); err != nil {
			t.Fatal(err)
		}
		if last := source.asked[len(source.asked)-1]; last < 5*time.Hour+time.Minute {
			t.Errorf("after five hours the follower looked back %v", last)
		}
	})
}

// TestFollowOfADatabaseThatWentBack: the handler is told once, also when it fails
// at first, that anything may be different.
func TestFollowOfADatabaseThatWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{reads: []func() (changes.Snapshot, error){
			rows(true), rows(false), rows(true, row(9)), rows(true, row(9)), rows(true, row(10)),
		}}
		got, err := runScript(t, source, nil, 1) // the first read's handling fails, and it is read again
		if err != nil {
			t.Fatal(err)
		}
		wantHandled(t, got, []changes.Change{{Kind: changes.Policy}, row(9).Change}, []changes.Change{row(9).Change}, []changes.Change{row(10).Change})
	})
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{reads: []func() (changes.Snapshot, error){rows(false), rows(true, row(9)), rows(true, row(9)), rows(true, row(10))}}
		got, err := runScript(t, source, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		wantHandled(t, got, []changes.Change{{Kind: changes.Policy}, row(9).Change}, []changes.Change{row(10).Change})
	})
}

// TestFollowFromALostPlace: who brought a position gets the error, whenever the place
// is lost.
func TestFollowFromALostPlace(t *testing.T) {
	removed := func() (changes.Snapshot, error) {
		return changes.Snapshot{Witnessed: true, RemovedBelow: 11}, nil
	}
	for name, lost := range map[string]func() (changes.Snapshot, error){"another database": rows(false), "removed": removed} {
		for _, before := range []int{0, 2} {
			synctest.Test(t, func(t *testing.T) {
				from := changes.NewCursor(changes.Start{Newest: changes.Witness{Position: 1, XID: 9}})
				reads := slices.Repeat([]func() (changes.Snapshot, error){rows(true)}, before)
				source := &scripted{reads: append(reads, lost, rows(true, row(12)))}
				got, err := runScript(t, source, &from, 0)
				if !errors.Is(err, secret.ErrPositionLost) || len(got) != 0 || len(source.asked) != 0 {
					t.Errorf("%s after %d reads: handled %v, %v", name, before, got, err)
				}
			})
		}
	}
}

func TestFollowPassesOverForeignRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign := row(3)
		foreign.Foreign = true
		source := &scripted{reads: []func() (changes.Snapshot, error){rows(true, row(2), foreign), rows(true, foreign)}}
		got, err := runScript(t, source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantHandled(t, got, []changes.Change{row(2).Change})
	})
}

// TestFollowGivesABatchInTheOrderOfWriting: two changes of one path stand as they were
// committed, though the transaction of the later one began earlier.
func TestFollowGivesABatchInTheOrderOfWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early, late := row(3), row(2)
		early.XID, late.XID = 8, 9
		source := &scripted{reads: []func() (changes.Snapshot, error){rows(true, early, late)}}
		got, err := runScript(t, source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantHandled(t, got, []changes.Change{late.Change, early.Change})
	})
}

// counting is a waker that counts its runs.
type counting struct {
	running, most, runs atomic.Int64
	ready               chan func() // gets wake of each run
}

func (c *counting) Run(ctx context.Context, wake func(), connected func(bool)) {
	c.runs.Add(1)
	c.most.Store(max(c.most.Load(), c.running.Add(1)))
	connected(true)
	c.ready <- wake
	<-ctx.Done()
	connected(false)
	c.running.Add(-1)
}

// TestFollowersShareAWaker: it runs once for all, wakes all, and ends with the last.
func TestFollowersShareAWaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &counting{ready: make(chan func(), 10)}
		shared := changes.NewSharedWaker(inner)
		type follower struct {
			wakes, connected atomic.Int64
			end              context.CancelFunc
		}
		follow := func() *follower {
			f := &follower{}
			ctx, cancel := context.WithCancel(t.Context())
			f.end = cancel
			go shared.Run(ctx, func() { f.wakes.Add(1) }, func(connected bool) {
				f.connected.Store(map[bool]int64{false: 0, true: 1}[connected])
			})
			synctest.Wait()
			return f
		}
		first, second := follow(), follow()
		(<-inner.ready)()
		if inner.runs.Load() != 1 || first.wakes.Load() != 1 || second.wakes.Load() != 1 || first.connected.Load() != 1 || second.connected.Load() != 1 {
			t.Errorf("%d runs; woken %d and %d", inner.runs.Load(), first.wakes.Load(), second.wakes.Load())
		}
		first.end()
		synctest.Wait()
		if inner.running.Load() != 1 || first.connected.Load() != 0 || second.connected.Load() != 1 {
			t.Error("the waker ended with the first of two followers")
		}
		second.end()
		synctest.Wait()
		third := follow()
		(<-inner.ready)()
		if inner.runs.Load() != 2 || third.wakes.Load() != 1 || second.wakes.Load() != 1 || third.connected.Load() != 1 {
			t.Errorf("after all had gone: %d runs, woken %d", inner.runs.Load(), third.wakes.Load())
		}
		third.end()
		synctest.Wait()
		if inner.running.Load() != 0 {
			t.Error("the waker runs for nobody")
		}
	})
}
