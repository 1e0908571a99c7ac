package audit_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// tailLog is a log in memory, its tail and what that said.
type tailLog struct {
	tail *audit.Tail
	// reading, when not nil, is called at each question to the log, before it is answered.
	reading func()
	// asks: the observer asks the tail for its waiting rows when it hears of lost ones.
	asks bool

	mu    sync.Mutex
	rows  []audit.Row
	asked int
	said  []string
}

func newTailLog() *tailLog {
	l := &tailLog{}
	l.tail = &audit.Tail{Out: l, Read: l.read, Observer: l}
	return l
}

// tailRows are rows of a writer; their ids are their numbers.
func tailRows(writer uuid.UUID, first, last int64) []audit.Row {
	var rows []audit.Row
	for n := first; n <= last; n++ {
		rows = append(rows, audit.Row{Entry: audit.Entry{ID: n}, Writer: writer, Seq: n})
	}
	return rows
}

// write makes rows durable, past the tail.
func (l *tailLog) write(rows []audit.Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, rows...)
}

func (l *tailLog) read(_ context.Context, writers []uuid.UUID, after int64, limit int) ([]audit.Row, error) {
	if l.reading != nil {
		l.reading()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	var found []audit.Row
	for _, r := range l.rows {
		if r.ID > after && slices.Contains(writers, r.Writer) && len(found) < limit {
			found = append(found, r)
		}
	}
	return found, nil
}

func (l *tailLog) Write(p []byte) (int, error) { return len(p), nil }

func (l *tailLog) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

func (l *tailLog) Printed(rows int, waiting int64) { l.say("printed %d, %d wait", rows, waiting) }
func (l *tailLog) Lost(_ uuid.UUID, first, last int64) {
	if l.asks {
		l.tail.Waiting()
	}
	l.say("lost %d-%d", first, last)
}
func (l *tailLog) Unknown(_ uuid.UUID, first, last int64) { l.say("unknown %d-%d", first, last) }
func (l *tailLog) Failing(err error)                      { l.say("failing: %v", err) }

// run lets the tail work, as long as it has to, and then what follows one after the other; then it ends.
func (l *tailLog) run(t *testing.T, steps ...func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	grace, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { l.tail.Run(ctx, grace) })
	synctest.Wait()
	for _, step := range steps {
		step()
		synctest.Wait()
	}
	cancel()
	end()
	running.Wait()
}

// want compares what the observer heard, and forgets it.
func (l *tailLog) want(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if diff := cmp.Diff(want, l.said); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	l.said = nil
}

// more than the tail holds in memory: it reads them from the log.
const manyRows = 5000

// TestTailOfRowsThatBecomeUnsureWhileItReads: a writer that was behind loses the answer to its last commit while its rows are read.
// The row was written, and is printed.
func TestTailOfRowsThatBecomeUnsureWhileItReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, writer := newTailLog(), uuid.New()
		l.write(tailRows(writer, 1, manyRows))
		l.reading = sync.OnceFunc(func() { l.tail.Unsure(tailRows(writer, manyRows+1, manyRows+1)) })
		l.tail.Durable(tailRows(writer, 1, manyRows))
		printed := func() (n int) {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, line := range l.said {
				var rows, waiting int
				if _, err := fmt.Sscanf(line, "printed %d, %d wait", &rows, &waiting); err != nil {
					t.Error(line)
				}
				n += rows
			}
			return n
		}
		l.run(t, func() {
			if n := printed(); n != manyRows {
				t.Errorf("%d rows were printed, want %d", n, manyRows)
			}
			l.write(tailRows(writer, manyRows+1, manyRows+1)) // it arrives late
			<-time.After(time.Minute)
		}, func() {
			if n := printed(); n != manyRows+1 {
				t.Errorf("%d rows were printed, want %d", n, manyRows+1)
			}
		})
	})
}

// TestTailTellsLostRowsFromUnknownOnes of one writer, at once and after the time that an unsure commit has; and it is not at the
// log all that time, though others write.
func TestTailTellsLostRowsFromUnknownOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, writer, other := newTailLog(), uuid.New(), uuid.New()
		l.tail.Durable(tailRows(writer, 1, manyRows)) // nobody wrote them
		l.tail.Unsure(tailRows(writer, manyRows+1, manyRows+2))
		l.run(t, func() {
			l.want(t, fmt.Sprintf("lost 1-%d", manyRows))
			before := l.asked
			for n := range int64(100) {
				l.tail.Durable(tailRows(other, n+1, n+1))
				synctest.Wait()
			}
			if l.asked != before {
				t.Errorf("the log was asked %d times meanwhile", l.asked-before)
			}
			l.want(t, slices.Repeat([]string{"printed 1, 0 wait"}, 100)...)
			<-time.After(3 * time.Minute)
		}, func() {
			l.want(t, fmt.Sprintf("unknown %d-%d", manyRows+1, manyRows+2))
			if l.asked > 40 {
				t.Errorf("the log was asked %d times", l.asked)
			}
		})
		l.want(t)
	})
}

// TestTailThatEndsSaysWhatItKnows of what it did not print.
func TestTailThatEndsSaysWhatItKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, writer := newTailLog(), uuid.New()
		l.tail.Read = func(context.Context, []uuid.UUID, int64, int) ([]audit.Row, error) { return nil, io.ErrUnexpectedEOF }
		l.tail.Durable(tailRows(writer, 1, manyRows))
		l.tail.Unsure(tailRows(writer, manyRows+1, manyRows+2))
		l.run(t)
		l.want(t, "failing: "+io.ErrUnexpectedEOF.Error(), fmt.Sprintf("lost 1-%d", manyRows), fmt.Sprintf("unknown %d-%d", manyRows+1, manyRows+2))
	})
}

// TestObserverOfATailMayAsk it, since it is told outside of the lock.
func TestObserverOfATailMayAsk(t *testing.T) {
	l, writer := newTailLog(), uuid.New()
	l.asks = true
	l.write(tailRows(writer, 3, manyRows)) // the first two are gone: found while reading
	l.tail.Durable(tailRows(writer, 1, manyRows))
	ended, ctx := make(chan struct{}), t.Context()
	go func() {
		defer close(ended)
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		l.tail.Run(stopped, stopped)
	}()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for itself")
	}
	if said := strings.Join(l.said, "\n"); !strings.Contains(said, "lost 1-2") {
		t.Errorf("it said %s", said)
	}
}
