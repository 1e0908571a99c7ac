package vault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/coffer-vault/coffer/internal/testkit/faultproxy"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// output is the standard output of a manager. check, when not nil, decides about each write.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	check func(p []byte) (int, error)
}

func (o *output) Write(p []byte) (int, error) {
	n, err := len(p), error(nil)
	if o.check != nil {
		n, err = o.check(p)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p[:n])
	return n, err
}

// printedRow is what a line says of its row.
type printedRow struct {
	Log    string
	ID     int64
	Writer uuid.UUID
	Seq    int64
}

// printed reads the lines so far.
func (o *output) printed(t testing.TB) []printedRow {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	var rows []printedRow
	for line := range strings.Lines(o.text.String()) {
		var r printedRow
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Log != "audit" || !strings.HasSuffix(line, "\n") {
			t.Fatalf("line %q: %v", line, err)
		}
		rows = append(rows, r)
	}
	return rows
}

// tailing opens an engine that prints to out.
func tailing(t testing.TB, env *vaulttest.Env, dsn string, out io.Writer, registry *prometheus.Registry) (*vault.Engine, func()) {
	t.Helper()
	options := vault.Options{DatabaseURL: dsn, Root: env.Root, AuditTail: out, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if registry != nil {
		options.Registerer = registry
	}
	engine, closeEngine, err := vault.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	closeOnce := sync.OnceFunc(closeEngine)
	t.Cleanup(closeOnce)
	return engine, closeOnce
}

// wantPrinted compares what replicas printed with the rows of the log that are theirs: those of writers that have no row up to
// after, where the first engine had ended.
func wantPrinted(t testing.TB, env *vaulttest.Env, after int64, outs ...*output) {
	t.Helper()
	var got []int64
	next := map[uuid.UUID]int64{}
	for _, o := range outs {
		for _, r := range o.printed(t) {
			got = append(got, r.ID)
			if next[r.Writer]++; r.Seq != next[r.Writer] {
				t.Errorf("writer %s: row %d was printed where %d is to be", r.Writer, r.Seq, next[r.Writer])
			}
		}
	}
	slices.Sort(got)
	var want []int64
	for _, e := range auditRows(t, env, fmt.Sprintf(`WHERE writer NOT IN (SELECT writer FROM audit WHERE id <= %d) ORDER BY id`, after)) {
		want = append(want, e.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%d rows of %d (-in the log +printed):\n%s", len(got), len(want), diff)
	}
}

// quiet makes a vault whose first engine has ended, so that nobody else writes to the log, and returns the last id.
func quiet(t *testing.T) (*vaulttest.Env, int64) {
	t.Helper()
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "v")
	env.CloseFirst()
	return env, auditRows(t, env, `ORDER BY id DESC LIMIT 1`)[0].ID
}

// TestTailPrintsEveryRowOnce over all replicas, and none before it is durable.
func TestTailPrintsEveryRowOnce(t *testing.T) {
	env, after := quiet(t)
	var outs []*output
	var closers []func()
	var work sync.WaitGroup
	for range 2 {
		conn := connect(t, env)
		out := &output{check: func(p []byte) (int, error) {
			for line := range bytes.Lines(p) {
				var r printedRow
				found := 0
				if err := json.Unmarshal(line, &r); err != nil {
					t.Errorf("line %q: %v", line, err)
				}
				if err := conn.QueryRow(context.WithoutCancel(t.Context()), `SELECT count(*) FROM audit WHERE id = $1`, r.ID).Scan(&found); err != nil || found != 1 {
					t.Errorf("row %d is printed and not in the log (%v)", r.ID, err)
				}
			}
			return len(p), nil
		}}
		engine, closeEngine := tailing(t, env, env.DSN, out, nil)
		outs, closers = append(outs, out), append(closers, closeEngine)
		for range 8 {
			work.Go(func() {
				for range 20 {
					wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
				}
				put(t, engine, env.Admin, "c/d")
			})
		}
	}
	work.Wait()
	for _, closeEngine := range closers {
		closeEngine() // prints what is left
	}
	wantPrinted(t, env, after, outs...)
}

// TestTailOfASlowOutput holds nobody up, and prints everything when the output takes it.
func TestTailOfASlowOutput(t *testing.T) {
	t.Parallel() // it mostly waits
	env, after := quiet(t)
	stuck := make(chan struct{})
	out := &output{check: func(p []byte) (int, error) { <-stuck; return len(p), nil }}
	registry := prometheus.NewRegistry()
	engine, closeEngine := tailing(t, env, env.DSN, out, registry)
	const readers, reads = 64, 80 // more rows than are held in memory
	var work sync.WaitGroup
	for range readers {
		work.Go(func() {
			for range reads {
				wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
			}
		})
	}
	work.Wait()
	if n := len(out.printed(t)); n != 0 {
		t.Errorf("%d rows came through", n)
	}
	close(stuck)
	eventually(t, "every row", func() bool { return len(out.printed(t)) >= readers*reads })
	closeEngine()
	wantPrinted(t, env, after, out)
	if lost := testutil.CollectAndCount(registry, "coffer_audit_tail_rows_total"); lost != 1 {
		t.Errorf("rows are counted as something else than printed")
	}
}

// TestTailOfAFailingOutput: each line is there once and whole, whatever part of it went through before.
func TestTailOfAFailingOutput(t *testing.T) {
	env, after := quiet(t)
	writes := 0
	out := &output{check: func(p []byte) (int, error) {
		if writes++; writes%2 == 1 {
			return min(len(p), 100), errors.New("no space")
		}
		return len(p), nil
	}}
	engine, closeEngine := tailing(t, env, env.DSN, out, nil)
	for range 5 {
		wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
	}
	closeEngine()
	wantPrinted(t, env, after, out)
}

// TestTailSaysWhatIsLost when rows are gone before they could be printed.
func TestTailSaysWhatIsLost(t *testing.T) {
	t.Parallel() // it mostly waits
	env, _ := quiet(t)
	stuck := make(chan struct{})
	out := &output{check: func(p []byte) (int, error) { <-stuck; return len(p), nil }}
	registry := prometheus.NewRegistry()
	engine, closeEngine := tailing(t, env, env.DSN, out, registry)
	var work sync.WaitGroup
	for range 64 {
		work.Go(func() {
			for range 110 { // many more than wait in memory and in the write, so that the last ones surely do not
				wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
			}
		})
	}
	work.Wait()
	exec(t, env, `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE action = 'read' ORDER BY id DESC LIMIT 10)`)
	close(stuck)
	closeEngine()
	if got := tailRows(t, registry, "lost"); got != 10 {
		t.Errorf("%v rows are counted as lost, want 10", got)
	}
}

func tailRows(t testing.TB, registry *prometheus.Registry, result string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "coffer_audit_tail_rows_total" && m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// TestTailPrintsARowWhoseCommitGotNoAnswer since it is in the log.
func TestTailPrintsARowWhoseCommitGotNoAnswer(t *testing.T) {
	env, after := quiet(t)
	proxy, dsn, err := faultproxy.ListenFor(env.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Close() })
	out := &output{}
	engine, closeEngine := tailing(t, env, dsn, out, nil)
	eventually(t, "an anchor", func() bool { return len(out.printed(t)) > 0 })
	operations := map[string]func() error{
		"INSERT 0": func() error { _, err := read(t, engine, env.Admin, ref(t, "a/b", 0)); return err },
		"COMMIT":   func() error { return engine.Destroy(t.Context(), env.Admin, vaulttest.Path(t, "a/b")) },
	}
	for _, answer := range []string{"INSERT 0", "COMMIT"} {
		lost := proxy.LoseAnswer(func(got []byte) bool { return bytes.Contains(got, []byte(answer)) })
		wantError(t, operations[answer](), secret.ErrUnavailable)
		<-lost
		last := lastAudit(t, env).ID
		eventually(t, "the row", func() bool {
			return slices.ContainsFunc(out.printed(t), func(r printedRow) bool { return r.ID == last })
		})
	}
	closeEngine()
	wantPrinted(t, env, after, out)
}

// TestTailPrintsCheckpoints, which are rows of a writer of their own.
func TestTailPrintsCheckpoints(t *testing.T) {
	env, clock := pastVault(t, 2)
	env.Put(t, "a/b", "v")
	env.CloseFirst()
	after := auditRows(t, env, `ORDER BY id DESC LIMIT 1`)[0].ID
	out := &output{}
	engine, _ := newEngine(t, env, vault.Config{AuditTail: out, AuditRetention: 2, Clock: clock.Now})
	endTail := vault.StartTail(t.Context(), engine)
	clock.Set(date(2025, time.June, 20))
	maintain(t, engine)
	endTail()
	if n := len(auditRows(t, env, `WHERE action = 'checkpoint'`)); n != 3 {
		t.Errorf("%d checkpoints, want those of audit_first, February and March", n)
	}
	wantPrinted(t, env, after, out)
}
