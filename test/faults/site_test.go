//go:build failpoints

package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit/faultproxy"
	"github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/internal/testkit/redis"
)

const (
	// clients is how many there are of a site's worker.
	clients = 4
	// feltWithin bounds the time until a fault is felt: some of the engine's timeouts of 10 s.
	feltWithin = time.Minute
	// convergeWithin bounds the time after a fault until everything is as before. A session that was cut off in a
	// transaction keeps its locks for 15 s, and an operation that waits for them takes 10 s to give up.
	convergeWithin = 45 * time.Second
	// poll is how often is looked for what is waited for.
	poll = 20 * time.Millisecond
)

// site is a vault whose servers come to harm while a worker uses it.
type site struct {
	*victim
	// postgres and standby are the test's own, or nil.
	postgres, standby *postgres.Server
	redisServer       *redis.Server
	// database and cache are the worker's ways to Postgres and Redis, or nil when it goes there by itself.
	database, cache *faultproxy.Proxy
	environment     []string

	run      uint64
	ended    chan struct{} // closed when the worker has ended
	failure  error         // how, set before
	commands io.WriteCloser
	answers  *bufio.Scanner
	// heardFrom is the position of the last change before the worker followed.
	heardFrom int64
}

// startLoad starts the worker. It ends with the test.
func (s *site) startLoad(t *testing.T, run uint64) {
	t.Helper()
	s.run = run
	s.query(t, &s.heardFrom, `SELECT coalesce(max(position), 0) FROM changes`)
	output, err := os.OpenFile(s.output, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := s.worker(t.Context(), "put,read", clients, run, append(s.environment, workerLoad+"=1")...)
	cmd.Stderr = output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.commands, s.answers, s.ended = stdin, bufio.NewScanner(stdout), make(chan struct{})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go s.watch(cmd)
	t.Cleanup(func() { <-s.ended }) // the test's context has ended, and with it the worker
}

// watch notes when the worker has ended, and how.
func (s *site) watch(cmd *exec.Cmd) {
	state, err := cmd.Process.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("%s", state)
	}
	s.failure = err
	close(s.ended)
}

// endLoad demands that the worker ends in order.
func (s *site) endLoad(t *testing.T) {
	t.Helper()
	if err := s.commands.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(convergeWithin):
		t.Fatalf("the worker did not end\n%s", s.outputTail())
	}
	if s.failure != nil {
		t.Fatalf("the worker ended badly: %v\n%s", s.failure, s.outputTail())
	}
}

// ask has the worker obey a command, and returns its answer.
func (s *site) ask(t *testing.T, command string) string {
	t.Helper()
	if _, err := fmt.Fprintln(s.commands, command); err != nil || !s.answers.Scan() {
		t.Fatalf("the worker does not answer: %v\n%s", err, s.outputTail())
	}
	return s.answers.Text()
}

// mark is a place in the log: its end now.
func (s *site) mark(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(s.log)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// since returns what the worker noted after mark.
func (s *site) since(t *testing.T, mark int64) (events []event) {
	t.Helper()
	file, err := os.Open(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	from := max(mark-1, 0)
	text, err := io.ReadAll(io.NewSectionReader(file, from, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(wholeLines(text, from == 0)) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("the worker's log: %v", err)
		}
		if e.Run == fmt.Sprint(s.run) && e.Op != heard {
			events = append(events, e)
		}
	}
	return events
}

// wholeLines are the lines of text, a part of a log that is being written, without what is under way: the last line, and,
// unless text is from the log's start, all up to the first line's end. A file's size can be seen within a line, since the
// kernel moves it on at the end of each page that the line touches.
func wholeLines(text []byte, fromStart bool) []byte {
	if !fromStart {
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	return text[:bytes.LastIndexByte(text, '\n')+1]
}

// await waits until what the worker noted after mark is enough.
func (s *site) await(t *testing.T, what string, mark int64, enough func([]event) bool) {
	t.Helper()
	s.until(t, what, feltWithin, func() error {
		if !enough(s.since(t, mark)) {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

// until polls until ok returns nil, and fails the test when it does not in time.
func (s *site) until(t *testing.T, what string, within time.Duration, ok func() error) {
	t.Helper()
	if err := s.poll(t, within, ok); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, s.outputTail())
	}
}

// poll asks ok until it returns nil or time is over, and returns its last error.
func (s *site) poll(t *testing.T, within time.Duration, ok func() error) error {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-s.ended:
			t.Fatalf("the worker ended: %v\n%s", s.failure, s.outputTail())
		case <-tick.C:
		}
	}
}

// answered are the operations that began and ended well among events.
func answered(events []event) []event {
	return ended(events, func(e event) bool { return e.Done })
}

// failed are the operations that have no answer.
func failed(events []event) []event {
	return ended(events, func(e event) bool { return e.Failed != "" })
}

// slow returns the operations that began among events and took long.
func slow(least time.Duration) func([]event) []event {
	return func(events []event) []event {
		return ended(events, func(e event) bool { return e.Done && e.Took >= least })
	}
}

func ended(events []event, as func(event) bool) (found []event) {
	began := map[string]bool{}
	for _, e := range events {
		switch {
		case !e.Done && e.Failed == "":
			began[e.Request] = true
		case as(e) && began[e.Request]:
			found = append(found, e)
		}
	}
	return found
}

// everyClient tells whether each client has n events of a kind.
func everyClient(kind func([]event) []event, n int) func([]event) bool {
	return func(events []event) bool {
		var of [clients]int
		for _, e := range kind(events) {
			of[e.Client]++
		}
		for _, have := range of {
			if have < n {
				return false
			}
		}
		return true
	}
}

// failures are those of a time in which nothing may fail.
func failures(events []event) (wrong []string) {
	for _, e := range events {
		if e.Failed != "" {
			wrong = append(wrong, fmt.Sprintf("%s %s by %s failed: %s", e.Op, e.Path, e.Request, e.Failed))
		}
	}
	return wrong
}

// query reads one value of the database.
func (s *site) query(t *testing.T, into any, sql string, arguments ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), sql, arguments...).Scan(into); err != nil {
		t.Fatal(err)
	}
}
