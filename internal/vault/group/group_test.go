package group_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/group"
)

// TestQuestionsGoInACallThatBeginsLater: the first goes at once and alone. What comes while it is under way gets no
// part of its answer, which may be of a moment before the question: it goes, together, in the next call.
func TestQuestionsGoInACallThatBeginsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, release := 0, make(chan struct{})
		c := &group.Calls[int, int]{AtOnce: 1, MaxBatch: 100, MaxQueue: 100, Do: func(asked []int) ([]int, error) {
			begun++
			moment := begun
			<-release
			answers := make([]int, len(asked))
			for i := range asked {
				answers[i] = 100*moment + asked[i]
			}
			return answers, nil
		}}
		answers := make([]int, 10)
		var wait sync.WaitGroup
		for i := range answers {
			wait.Go(func() {
				var err error
				if answers[i], err = c.Ask(t.Context(), i); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		close(release)
		wait.Wait()
		if want := []int{100, 201, 202, 203, 204, 205, 206, 207, 208, 209}; !slices.Equal(answers, want) {
			t.Errorf("answers %v, want %v: call times 100, and the question", answers, want)
		}
	})
}

// TestWhatHangsHoldsUpNobodyElse: a call that takes long is overtaken, by so many calls at
// most, and no call has more questions than it may.
func TestWhatHangsHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var calls []int
		wantCalls := func(want []int, why string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(calls, want) {
				t.Errorf("calls of %v questions, want %v: %s", calls, want, why)
			}
		}
		release := make(chan struct{})
		c := &group.Calls[int, int]{AtOnce: 2, Patience: time.Second, MaxBatch: 3, MaxQueue: 100, Do: func(asked []int) ([]int, error) {
			mu.Lock()
			calls = append(calls, len(asked))
			mu.Unlock()
			<-release
			return asked, nil
		}}
		var wait sync.WaitGroup
		ask := func(n int) {
			for i := range n {
				wait.Go(func() {
					if answer, err := c.Ask(t.Context(), i); err != nil || answer != i {
						t.Errorf("asked %d, got %d, error %v", i, answer, err)
					}
				})
				synctest.Wait()
			}
		}
		ask(5)
		wantCalls([]int{1}, "one at a time")
		<-time.After(time.Second) // of the bubble, which does not wait
		synctest.Wait()           // and nobody asks again
		wantCalls([]int{1, 3}, "what hangs is overtaken")
		<-time.After(time.Hour) // of the bubble, which does not wait
		ask(1)
		wantCalls([]int{1, 3}, "two at once")
		close(release)
		wait.Wait()
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := &group.Calls[int, int]{AtOnce: 1, MaxBatch: 10, MaxQueue: 5, Do: func(asked []int) ([]int, error) { <-release; return asked, nil }}
		var wait sync.WaitGroup
		for i := range 6 { // one is taken
			wait.Go(func() { _, _ = c.Ask(t.Context(), i) })
			synctest.Wait()
		}
		if _, err := c.Ask(t.Context(), 7); !errors.Is(err, group.ErrQueueFull) {
			t.Errorf("got %v", err)
		}
		close(release)
		wait.Wait()
		if _, err := c.Ask(t.Context(), 8); err != nil {
			t.Errorf("when the queue is empty again: %v", err)
		}
	})
}

// TestWhoGivesUpIsDropped, and everybody of a batch gets its error.
func TestWhoGivesUpIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, errDown := make(chan struct{}), errors.New("down")
		asked := 0
		c := &group.Calls[int, int]{AtOnce: 1, MaxBatch: 10, MaxQueue: 10, Do: func(questions []int) ([]int, error) {
			<-release
			asked += len(questions)
			return nil, errDown
		}}
		var wait sync.WaitGroup
		for i := range 3 {
			wait.Go(func() {
				if _, err := c.Ask(t.Context(), i); !errors.Is(err, errDown) {
					t.Errorf("got %v", err)
				}
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		wait.Go(func() {
			if _, err := c.Ask(ctx, 3); !errors.Is(err, group.ErrTooSlow) || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		wait.Wait()
		if asked != 3 {
			t.Errorf("%d questions were asked, want 3", asked)
		}
	})
}

// TestCallsOverCallsThatHang: each begins when those under way have taken their time, and not before, whoever asks and however
// many questions are left over.
func TestCallsOverCallsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var began []time.Duration
		release := make(chan struct{})
		c := &group.Calls[int, int]{AtOnce: 3, Patience: time.Second, MaxBatch: 1, MaxQueue: 100, Do: func(asked []int) ([]int, error) {
			mu.Lock()
			began = append(began, time.Since(start))
			mu.Unlock()
			if asked[0] == 0 { // hangs for less than the time it has
				<-time.After(900 * time.Millisecond)
				return asked, nil
			}
			<-release
			return asked, nil
		}}
		var wait sync.WaitGroup
		for i := range 5 {
			wait.Go(func() { _, _ = c.Ask(t.Context(), i) })
			synctest.Wait()
		}
		<-time.After(time.Minute)
		want := []time.Duration{0, 900 * time.Millisecond, 1900 * time.Millisecond, 2900 * time.Millisecond}
		mu.Lock()
		if !slices.Equal(began, want) {
			t.Errorf("calls began after %v, want %v", began, want)
		}
		mu.Unlock()
		close(release)
		wait.Wait()
	})
}

// TestOneCallThatHangsDelaysNoOther: a question beside it is answered at once, not only the first.
func TestOneCallThatHangsDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := &group.Calls[int, int]{AtOnce: 2, Patience: time.Second, MaxBatch: 10, MaxQueue: 10, Do: func(asked []int) ([]int, error) {
			if slices.Contains(asked, 0) {
				<-release
			}
			return asked, nil
		}}
		var wait sync.WaitGroup
		wait.Go(func() { _, _ = c.Ask(t.Context(), 0) })
		<-time.After(time.Minute)
		for i := range 3 {
			start := time.Now()
			if _, err := c.Ask(t.Context(), i+1); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("question %d waited %v for a call that hangs", i+1, took)
			}
		}
		close(release)
		wait.Wait()
	})
}

// TestQuestionsThatBelongTogetherGoInOneCall: also when there is room for some of them only.
func TestQuestionsThatBelongTogetherGoInOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls [][]int
		release := make(chan struct{})
		c := &group.Calls[int, int]{AtOnce: 1, MaxBatch: 10, MaxQueue: 20, Do: func(asked []int) ([]int, error) {
			<-release
			calls = append(calls, asked)
			return asked, nil
		}}
		var wait sync.WaitGroup
		ask := func(questions ...int) {
			wait.Go(func() {
				if answers, err := c.AskTogether(t.Context(), questions); err != nil || !slices.Equal(answers, questions) {
					t.Errorf("got %v, %v, want %v", answers, err, questions)
				}
			})
			synctest.Wait()
		}
		ask(0)
		ask(1, 2, 3, 4, 5, 6, 7)
		ask(8, 9, 10, 11)
		ask(12)
		if _, err := c.AskTogether(t.Context(), make([]int, 9)); !errors.Is(err, group.ErrQueueFull) {
			t.Errorf("more than there is room for: %v", err)
		}
		close(release)
		wait.Wait()
		want := [][]int{{0}, {1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11, 12}}
		if !slices.EqualFunc(calls, want, slices.Equal) {
			t.Errorf("calls of %v, want %v", calls, want)
		}
	})
}
