package server

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestACallerWaitsForItselfOnly: the requests of one caller above its limit wait, and
// beyond the queue are refused; another caller's are worked on at once; nothing is
// remembered of a caller who has none.
func TestACallerWaitsForItselfOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		working, results := make(chan func(), maxAtOnce+maxWaiting), make(chan error, maxWaiting)
		for range maxAtOnce + maxWaiting {
			go func() {
				done, err := turns.own(t.Context(), "storm", readWeight)
				if err != nil {
					results <- err
					return
				}
				working <- done
			}()
		}
		synctest.Wait()
		if n := len(working); n != maxAtOnce {
			t.Errorf("%d requests of one caller are worked on, want %d", n, maxAtOnce)
		}
		if _, err := turns.own(t.Context(), "storm", readWeight); !errors.Is(err, errTooManyWaiting) {
			t.Errorf("beyond the queue: got %v", err)
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		for range maxAtOnce / besideWeight {
			done, err := turns.own(t.Context(), "neighbour", writeWeight)
			if err != nil {
				t.Fatalf("a neighbour was refused: %v", err)
			}
			defer done()
		}
		if _, err := turns.own(canceled, "neighbour", readWeight); !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up while waiting got %v", err)
		}
		for range maxAtOnce + maxWaiting {
			(<-working)()
		}
		synctest.Wait()
		if len(results) != 0 {
			t.Errorf("%d waiting requests were refused", len(results))
		}
		turns.mu.Lock()
		defer turns.mu.Unlock()
		if len(turns.byCaller) != 1 {
			t.Errorf("%d callers are remembered, want only the one at work", len(turns.byCaller))
		}
	})
}

// TestACallerBesideOthersHasFewAtOnce, and as many as before once they are gone.
func TestACallerBesideOthersHasFewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		atOnce := func(weight int64) int {
			ctx, cancel := context.WithCancel(t.Context())
			working := make(chan func(), maxAtOnce)
			for range maxAtOnce {
				go func() {
					if done, err := turns.own(ctx, "storm", weight); err == nil {
						working <- done
					}
				}()
			}
			synctest.Wait()
			cancel()
			synctest.Wait()
			n := len(working)
			for range n {
				(<-working)()
			}
			return n
		}
		ask := func(caller string) {
			done, err := turns.own(t.Context(), caller, readWeight)
			if err != nil {
				t.Fatal(err)
			}
			done()
		}
		for _, step := range []struct {
			name          string
			before        func()
			reads, writes int
		}{
			{"alone", func() {}, maxAtOnce, maxAtOnce / writeWeight},
			{"beside another", func() { ask("neighbour") }, maxAtOnce / besideWeight, maxAtOnce / besideWeight},
			{"beside one who asked a while ago", func() { <-time.After(besideFor - 1) }, maxAtOnce / besideWeight, maxAtOnce / besideWeight},
			{"alone again", func() { <-time.After(1) }, maxAtOnce, maxAtOnce / writeWeight},
			{"beside two", func() { ask("neighbour"); ask("another") }, maxAtOnce / besideWeight, maxAtOnce / besideWeight},
		} {
			step.before()
			if reads, writes := atOnce(readWeight), atOnce(writeWeight); reads != step.reads || writes != step.writes {
				t.Errorf("%s: %d reads or %d writes are worked on at a time, want %d and %d", step.name, reads, writes, step.reads, step.writes)
			}
		}
	})
}

// TestFewCallersDoNotFillTheServer: a request takes of what all have only what it weighs, so that callers beside each
// other leave room.
func TestFewCallersDoNotFillTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		ctx, cancel := context.WithCancel(t.Context())
		take := func(ctx context.Context, caller string, weight int64) (done func(), err error) {
			endOwn, err := turns.own(ctx, caller, weight)
			if err != nil {
				return nil, err
			}
			endOfAll, err := turns.ofAll(ctx, weight)
			if err != nil {
				endOwn()
				return nil, err
			}
			return func() { endOfAll(); endOwn() }, nil
		}
		first, err := take(ctx, "who asked before", readWeight)
		if err != nil {
			t.Fatal(err)
		}
		first()
		const callers = maxAtOnceOfAll/(maxAtOnce/besideWeight*writeWeight) - 1
		for n := range callers {
			for range maxAtOnce {
				go func() {
					if done, err := take(ctx, fmt.Sprint("slow ", n), writeWeight); err == nil {
						<-ctx.Done()
						done()
					}
				}()
			}
			synctest.Wait()
		}
		atOnce, stop := context.WithTimeout(ctx, time.Second)
		done, err := take(atOnce, "another", writeWeight)
		if err != nil {
			t.Error("there is no room for another caller")
		} else {
			done()
		}
		stop()
		cancel()
		synctest.Wait()
	})
}
