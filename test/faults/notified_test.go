//go:build failpoints

package faults

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/notify"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// notified are the failpoints between a step of a rotation and the end of what is told of it.
var notified = []string{
	"rotation-step/" + failpoint.BeforeCommit, // the step and its events are written, and not committed
	"rotation-step/" + failpoint.AfterCommit,
	"notification-route/" + failpoint.BeforeCommit,
	"notification-route/" + failpoint.AfterCommit,
	"notification-deliver/" + failpoint.BeforeAction,
	"notification-deliver/" + failpoint.AfterAction, // the sink has it, and the database does not say so
}

// TestKilledWhileTelling kills a process that rotates and tells a sink of it. What a committed step tells of comes at the sink at least once, each
// time with the same id and body; and nothing comes of a step that was not committed.
func TestKilledWhileTelling(t *testing.T) {
	for _, point := range notified {
		if name := "notified/" + point; asked().MatchString(name) {
			row := results.begin("killed: " + name)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				defer results.end(t, row, name)
				killWhileTelling(t, row, point)
			})
		}
	}
}

func killWhileTelling(t *testing.T, row *result, point string) {
	v := newVictim(t, testkit.Postgres(t), testkit.Redis(t))
	sink := newSink(t)
	v.sinks = v.log + ".sinks"
	must(t, os.WriteFile(v.sinks, []byte(sink.config()), 0o600))
	for _, hit := range hits {
		run := seed(t)*100 + uint64(hit)
		v.runUntilKilled(t, fmt.Sprintf("%s:%d", point, hit), flow{script: "rotation", clients: 1}, run)
		row.injected++
		v.forgetDead(t)
		v.tellTheRest(t)
		row.hold(t, "I1", sink.findings(v.endedRuns(t)))
		row.hold(t, "I6", sink.leaks())
		v.check(t, row, run)
		if t.Failed() {
			return
		}
	}
	if again := sink.cameAgain(); again == 0 && point == "notification-deliver/"+failpoint.AfterAction {
		t.Error("nothing came twice, though the database never learnt that it had come")
	}
}

// startTelling delivers to the sinks of a file until it is ended.
func startTelling(ctx context.Context, engine *vault.Engine, sinks string) (end func(), err error) {
	logger := slog.New(slog.DiscardHandler)
	config, err := notify.Open(sinks, logger)
	if err != nil {
		return nil, err
	}
	n := notify.New(notify.Options{
		Vault: engine, Config: config, Logger: logger, Look: 5 * time.Millisecond, Lease: time.Second,
		Pace: notify.Pace{First: 5 * time.Millisecond, Longest: 50 * time.Millisecond},
	})
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); _ = n.Start(ctx) }()
	return func() { cancel(); <-ended }, nil
}

// tellTheRest is another process, which goes on with the rotation that was cut off, and tells all that is to be told.
func (v *victim) tellTheRest(t *testing.T) {
	t.Helper()
	engine, closeEngine := v.open(t)
	defer closeEngine()
	end, err := startTelling(t.Context(), engine, v.sinks)
	must(t, err)
	defer end()
	must(t, newWorker(engine, io.Discard, "rest").rotate(t.Context(), admin("rest"), passwords{v.log + ".system"}, stuck{}, nil))
	testkit.Eventually(t, runWithin, func() string {
		queue, err := engine.NotificationQueue(t.Context())
		if err != nil || queue.New || queue.Age > 0 {
			return fmt.Sprintf("not all is told: %+v, %v", queue, err)
		}
		return ""
	})
}

// endedRuns are the ids of all runs that there were, each of which ended well.
func (v *victim) endedRuns(t *testing.T) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), v.dsn)
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	var runs []string
	for _, row := range collect(t, conn, `SELECT id || ' ' || (record->>'state') FROM rotation_runs`) {
		id, state, _ := strings.Cut(row, " ")
		if state != string(rotation.Done) {
			t.Fatalf("the run %s is %s", id, state)
		}
		runs = append(runs, id)
	}
	return runs
}

// sink is a system that is told, which outlives the worker.
type sink struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the worker was killed in the middle
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.bodies = append(s.bodies, string(body))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) config() string {
	certificate := strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	return `apiVersion: vault.coffer.dev/v1alpha1
kind: NotificationConfiguration
reach: {networks: [127.0.0.0/8]}
sinks:
  - name: hook
    kind: webhook
    url: ` + s.URL + `/
    ca: |
      ` + strings.ReplaceAll(certificate, "\n", "\n      ") + "\n"
}

func (s *sink) came() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.bodies...)
}

// findings says what of runs did not come, what came of none of them, and what came otherwise than before.
func (s *sink) findings(runs []string) (found []string) {
	wanted := map[string]bool{} // whether it came, by run and type
	for _, run := range runs {
		for _, kind := range []notification.Type{notification.RotationStarted, notification.RotationCurrent, notification.RotationDone} {
			wanted[run+" "+string(kind)] = false
		}
	}
	ids, bodies := map[string]string{}, map[string]string{}
	for _, body := range s.came() {
		var e notification.Event
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.ID == "" {
			found = append(found, fmt.Sprintf("what came is no event: %v", err))
			continue
		}
		what := e.Run + " " + string(e.Type)
		if _, is := wanted[what]; !is {
			found = append(found, "told of what is not so: "+what)
		}
		wanted[what] = true
		if before, again := ids[what]; again && before != e.ID {
			found = append(found, fmt.Sprintf("%s came as %s and as %s", what, before, e.ID))
		}
		if before, again := bodies[e.ID]; again && before != body {
			found = append(found, "came again with another text: "+what)
		}
		ids[what], bodies[e.ID] = e.ID, body
	}
	for what, came := range wanted {
		if !came {
			found = append(found, "not told: "+what)
		}
	}
	return found
}

// cameAgain counts what had come before.
func (s *sink) cameAgain() (n int) {
	seen := map[string]bool{}
	for _, body := range s.came() {
		if seen[body] {
			n++
		}
		seen[body] = true
	}
	return n
}

func (s *sink) leaks() []string {
	if strings.Contains(strings.Join(s.came(), "\n"), canary) {
		return []string{"what the sink was told"}
	}
	return nil
}
