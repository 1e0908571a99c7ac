package changes_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/changes"
)

// scripted is a source whose reads are given; it ends the follower after the last.
type scripted struct {
	reads []func() (changes.Snapshot, error)
	asked []time.Duration // of ReadRecentChanges
	end   context.CancelFunc
}

func (s *scripted) next() (changes.Snapshot, error) {
	if len(s.reads) == 0 {
		s.end()
		return changes.Snapshot{}, context.Canceled
	}
	read := s.reads[0]
	s.reads = s.reads[1:]
	return read()
}

func (s *scripted) ReadChanges(context.Context, uint64, []int64) (changes.Snapshot, error) {
	return s.next()
}

func (s *scripted) ReadRecentChanges(_ context.Context, d time.Duration) (changes.Snapshot, error) {
	s.asked = append(s.asked, d)
	return s.next()
}

func snapshot(xmin uint64, rows ...changes.Row) func() (changes.Snapshot, error) {
	return func() (changes.Snapshot, error) { return changes.Snapshot{Xmin: xmin, Rows: rows}, nil }
}

func row(position int64) changes.Row {
	return changes.Row{XID: 1, Change: changes.Change{Position: position, Kind: changes.Put}}
}

// runScript follows source until its script ends, and returns what was handled.
func runScript(t *testing.T, source *scripted, refuse int) [][]changes.Change {
	t.Helper()
	var handled [][]changes.Change
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	source.end = cancel
	follower := changes.Follower{Source: source, Logger: slog.New(slog.DiscardHandler)}
	err := follower.Follow(ctx, func(_ context.Context, batch []changes.Change) error {
		if refuse > 0 {
			refuse--
			return errors.New("not now")
		}
		handled = append(handled, batch)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return handled
}

// TestFollowThroughAnOutageAtTheStart: the first read that succeeds looks back to
// a minute before following began, not before now.
func TestFollowThroughAnOutageAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &scripted{}
		for range 5 {
			source.reads = append(source.reads, func() (changes.Snapshot, error) {
				<-time.After(time.Hour) // of the bubble's clock
				return changes.Snapshot{}, errors.New("down")
			})
		}
		source.reads = append(source.reads, snapshot(7, row(1)))
		runScript(t, source, 0)
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
			snapshot(100), snapshot(50), snapshot(50, row(9)), snapshot(50, row(9)), snapshot(51, row(10)),
		}}
		got := runScript(t, source, 1)
		want := [][]changes.Change{{{Kind: changes.Policy}, row(9).Change}, {row(10).Change}}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b changes.Change) bool { return a == b })); diff != "" {
			t.Errorf("handled (-want +got):\n%s", diff)
		}
	})
}

func TestFollowPassesOverForeignRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		foreign := row(2)
		foreign.Foreign = true
		source := &scripted{reads: []func() (changes.Snapshot, error){snapshot(7, row(1), foreign), snapshot(8, foreign)}}
		if got := runScript(t, source, 0); len(got) != 1 || len(got[0]) != 1 || got[0][0].Position != 1 {
			t.Errorf("handled %v", got)
		}
	})
}
