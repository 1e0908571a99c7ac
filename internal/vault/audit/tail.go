package audit

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	// maxTail bounds the rows that wait to be printed, to some MiB. What comes beyond is read
	// again from the database.
	maxTail = 4096
	// tailPage is how many rows are read at a time.
	tailPage = 1000
	// tailAgain is how long an output, or a database, that fails is left alone.
	tailAgain = time.Second
	// unsureFor is how long rows are looked for whose commit got no answer: longer than the database
	// works on a statement.
	unsureFor = 2 * time.Minute
	// unsureEvery is how often: whatever was written since is looked through for them.
	unsureEvery = 5 * time.Second
)

// Tail prints the rows that this process wrote, one JSON line each, each once and after it is
// durable, in their order for each writer.
//
// Who writes rows never waits for the output. When more wait than fit, the further rows of
// their writers are only counted, and read from the database once there is room: a lane's rows are
// durable in their order, so the numbers of the last printed row and of the last durable one
// say which are still to come. The zero value with its functions set is ready; nil prints nothing.
type Tail struct {
	Out io.Writer
	// Read returns rows of the writers with ids above after, in the order of ids, limit
	// at most.
	Read func(ctx context.Context, writers []uuid.UUID, after int64, limit int) ([]Row, error)
	// Observer hears how it goes.
	Observer TailObserver

	mu      sync.Mutex
	writers map[uuid.UUID]*tailed
	queue   []Row
	wake    chan struct{}

	failing bool // only Run's
}

// TailObserver hears of a Tail. It is called by the goroutine of Run.
type TailObserver interface {
	// Printed rows have been given to the output, and others wait.
	Printed(rows int, waiting int64)
	// Lost rows were durable and could not be printed: they are not in the database any
	// more, or the process ended before.
	Lost(writer uuid.UUID, first, last int64)
	// Unknown rows may have been written: the answer to their commit got lost, and they were not found
	// later.
	Unknown(writer uuid.UUID, first, last int64)
	// Failing tells of the first of several errors of the output or the database, and with
	// nil of their end.
	Failing(err error)
}

// tailed is how far a writer's rows came.
type tailed struct {
	// taken is the number of the last row that is printed or queued, durable of the last that certainly is, and last of
	// the last that may be.
	taken, durable, last int64
	// from is the id of the row after taken, or a lower one, when that is not queued; 0 when there is none.
	from int64
	// unsure is when the outcome of the commit of the rows above durable got lost, and look when they are looked for next.
	unsure, look time.Time
}

func (w *tailed) behind() bool { return w.from != 0 }

// Durable takes rows of one writer, in its order, which are durable. It does not wait.
func (t *Tail) Durable(rows []Row) { t.add(rows, time.Time{}) }

// Unsure takes rows of one writer that may become durable: the outcome of their commit is not known. The
// writer has no further rows.
func (t *Tail) Unsure(rows []Row) { t.add(rows, time.Now()) }

func (t *Tail) add(rows []Row, unsure time.Time) {
	if t == nil || len(rows) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.init()
	w := t.writers[rows[0].Writer]
	if w == nil {
		w = &tailed{taken: rows[0].Seq - 1, durable: rows[0].Seq - 1}
		t.writers[rows[0].Writer] = w
	}
	w.last, w.unsure = rows[len(rows)-1].Seq, unsure
	if unsure.IsZero() {
		w.durable = w.last
	}
	switch {
	case w.behind():
	case !unsure.IsZero() || len(t.queue)+len(rows) > maxTail:
		w.from = rows[0].ID
	default:
		t.queue = append(t.queue, rows...)
		w.taken = w.last
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *Tail) init() {
	if t.writers == nil {
		t.writers, t.wake = map[uuid.UUID]*tailed{}, make(chan struct{}, 1)
	}
}

// Run prints until ctx ends, and then what is there already, until grace ends.
func (t *Tail) Run(ctx, grace context.Context) {
	t.mu.Lock()
	t.init()
	t.mu.Unlock()
	for {
		again := t.step(grace)
		if again == 0 {
			continue
		}
		if ctx.Err() != nil && (again < 0 || grace.Err() != nil) {
			t.giveUp()
			return
		}
		t.wait(ctx, grace, again)
	}
}

// wait waits for rows, or for d when that is positive.
func (t *Tail) wait(ctx, grace context.Context, d time.Duration) {
	ended := ctx.Done()
	if ctx.Err() != nil {
		ended = grace.Done()
	}
	var after <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-ended:
	case <-t.wake:
	case <-after:
	}
}

// step prints what is queued, or else what has to be read again. It returns how long to wait for
// more: 0 is not at all, negative until there are rows.
func (t *Tail) step(ctx context.Context) time.Duration {
	t.mu.Lock()
	queue := t.queue
	t.queue = nil
	t.mu.Unlock()
	if len(queue) > 0 {
		t.print(ctx, queue)
		return 0
	}
	return t.catchUp(ctx)
}

// print writes rows, however often it takes, until ctx ends.
func (t *Tail) print(ctx context.Context, rows []Row) {
	var lines []byte
	for i := range rows {
		var err error
		if lines, err = appendLine(lines, &rows[i]); err != nil {
			t.fails(err) // cannot be: an entry is strings and numbers
		}
	}
	for len(lines) > 0 {
		n, err := t.Out.Write(lines)
		lines = lines[n:]
		if err == nil {
			continue
		}
		t.fails(err)
		if !pause(ctx, tailAgain) {
			t.lose(rows)
			return
		}
	}
	t.fails(nil)
	t.Observer.Printed(len(rows), t.Waiting())
}

// fails tells the observer when errors begin and end.
func (t *Tail) fails(err error) {
	if failing := err != nil; failing != t.failing {
		t.failing = failing
		t.Observer.Failing(err)
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Waiting is how many durable rows are still to be printed.
func (t *Tail) Waiting() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := int64(len(t.queue))
	for _, w := range t.writers {
		n += max(0, w.durable-w.taken)
	}
	return n
}

// wanted are the writers that are behind, with the numbers up to which there may be rows of theirs, and the lowest id to
// read from. When there is none, wait is how long until there may be one; negative is until there are rows.
func (t *Tail) wanted() (upTo map[uuid.UUID]int64, from int64, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	upTo, wait = map[uuid.UUID]int64{}, -1
	for writer, w := range t.writers {
		if !w.behind() {
			continue
		}
		if left := time.Until(w.look); w.taken >= w.durable && left > 0 {
			if wait < 0 || left < wait {
				wait = left
			}
			continue
		}
		upTo[writer] = w.last
		if from == 0 || w.from < from {
			from = w.from
		}
	}
	return upTo, from, wait
}

// catchUp reads and prints what was not queued. What it returns is as of step.
func (t *Tail) catchUp(ctx context.Context) time.Duration {
	upTo, from, wait := t.wanted()
	if len(upTo) == 0 {
		return wait
	}
	writers := make([]uuid.UUID, 0, len(upTo))
	for writer := range upTo {
		writers = append(writers, writer)
	}
	for after := from - 1; ; {
		rows, err := t.Read(ctx, writers, after, tailPage)
		if err != nil {
			t.fails(err)
			return tailAgain
		}
		if next := t.next(rows, upTo); len(next) > 0 {
			t.print(ctx, next)
		}
		if len(rows) < tailPage {
			t.caughtUp(upTo)
			return 0
		}
		after = rows[len(rows)-1].ID
	}
}

// next picks those of rows that are to be printed now, and counts them as taken. Numbers that are left out are lost.
func (t *Tail) next(rows []Row, upTo map[uuid.UUID]int64) []Row {
	var news tailNews
	defer news.tell()
	t.mu.Lock()
	defer t.mu.Unlock()
	var next []Row
	for _, r := range rows {
		w := t.writers[r.Writer]
		if w == nil || r.Seq <= w.taken || r.Seq > upTo[r.Writer] {
			continue
		}
		if r.Seq > w.taken+1 {
			news.add(t.Observer.Lost, r.Writer, w.taken+1, r.Seq-1)
		}
		w.taken, w.from = r.Seq, r.ID
		next = append(next, r)
	}
	return next
}

// caughtUp settles writers whose rows up to upTo were looked for. Further ones may have come since, and may be unsure.
func (t *Tail) caughtUp(upTo map[uuid.UUID]int64) {
	var news tailNews
	defer news.tell()
	t.mu.Lock()
	defer t.mu.Unlock()
	for writer, last := range upTo {
		w := t.writers[writer]
		if sure := min(last, w.durable); w.taken < sure {
			news.add(t.Observer.Lost, writer, w.taken+1, sure)
			w.taken = sure
		}
		if w.taken < last {
			if time.Since(w.unsure) < unsureFor {
				w.look = time.Now().Add(unsureEvery)
				continue
			}
			news.add(t.Observer.Unknown, writer, w.taken+1, last)
			w.taken = last
		}
		if w.taken < w.last {
			continue
		}
		w.from = 0
		if !w.unsure.IsZero() {
			delete(t.writers, writer)
		}
	}
}

// tailNews are what the observer is told once the lock is let go of: it may wait for its output.
type tailNews []func()

func (n *tailNews) add(what func(writer uuid.UUID, first, last int64), writer uuid.UUID, first, last int64) {
	*n = append(*n, func() { what(writer, first, last) })
}

func (n *tailNews) tell() {
	for _, tell := range *n {
		tell()
	}
}

// giveUp says what is not printed at the end.
func (t *Tail) giveUp() {
	t.mu.Lock()
	queue := t.queue
	t.queue = nil
	t.mu.Unlock()
	t.lose(queue)
	var news tailNews
	defer news.tell()
	t.mu.Lock()
	defer t.mu.Unlock()
	for writer, w := range t.writers {
		if w.taken < w.durable {
			news.add(t.Observer.Lost, writer, w.taken+1, w.durable)
		}
		if sure := max(w.taken, w.durable); sure < w.last {
			news.add(t.Observer.Unknown, writer, sure+1, w.last)
		}
	}
}

// lose reports rows that were taken and not printed.
func (t *Tail) lose(rows []Row) {
	first, last := map[uuid.UUID]int64{}, map[uuid.UUID]int64{}
	for _, r := range rows {
		if first[r.Writer] == 0 {
			first[r.Writer] = r.Seq
		}
		last[r.Writer] = r.Seq
	}
	for writer := range first {
		t.Observer.Lost(writer, first[writer], last[writer])
	}
}
