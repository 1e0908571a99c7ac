package audit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// TestCommitterGroupsWhatWaits: entries that come while a flush is under way go
// together in the next one, in their order.
func TestCommitterGroupsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var mu sync.Mutex
		var batches [][]int64
		c := &audit.Committer{Flush: func(entries []audit.Entry) error {
			<-release
			mu.Lock()
			defer mu.Unlock()
			var ids []int64
			for _, e := range entries {
				ids = append(ids, e.ID)
			}
			batches = append(batches, ids)
			return nil
		}}
		var wait sync.WaitGroup
		for id := range int64(10) {
			wait.Go(func() {
				if err := c.Commit(t.Context(), audit.Entry{ID: id}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(release)
		wait.Wait()
		slices.SortFunc(batches, func(a, b []int64) int { return int(a[0] - b[0]) })
		if len(batches) != 2 || !slices.Equal(batches[1], []int64{1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("batches: %v", batches)
		}
	})
}

func TestCommitterBoundsItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := &audit.Committer{Flush: func([]audit.Entry) error { <-release; return nil }}
		var wait sync.WaitGroup
		for range audit.MaxQueue + 1 { // one is taken
			wait.Go(func() { _ = c.Commit(t.Context(), audit.Entry{}) })
			synctest.Wait()
		}
		if err := c.Commit(t.Context(), audit.Entry{}); !errors.Is(err, audit.ErrQueueFull) {
			t.Errorf("got %v", err)
		}
		close(release)
		wait.Wait()
		if err := c.Commit(t.Context(), audit.Entry{}); err != nil {
			t.Errorf("when the queue is empty again: %v", err)
		}
	})
}

// TestCommitterDropsWhatNobodyWaitsFor and gives everybody of a batch its error.
func TestCommitterDropsWhatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		errFlush := errors.New("no space")
		var mu sync.Mutex
		flushed := 0
		c := &audit.Committer{Flush: func(entries []audit.Entry) error {
			<-release
			mu.Lock()
			defer mu.Unlock()
			flushed += len(entries)
			return errFlush
		}}
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				if err := c.Commit(t.Context(), audit.Entry{}); !errors.Is(err, errFlush) {
					t.Errorf("got %v", err)
				}
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait.Go(func() {
			if err := c.Commit(ctx, audit.Entry{}); !errors.Is(err, audit.ErrTooSlow) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		wait.Wait()
		if flushed != 3 {
			t.Errorf("%d entries were flushed, want 3", flushed)
		}
	})
}
