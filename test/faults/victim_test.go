//go:build failpoints

package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// victim is a vault, and the log of those who worked on it. dsn and redis lead straight to its servers.
type victim struct {
	dsn, redis, root, log, output string
	// sinks is the file that names whom to tell of rotations; empty when nobody is told.
	sinks string
}

func newVictim(t *testing.T, dsn, redis string) *victim {
	t.Helper()
	dir := t.TempDir()
	v := &victim{
		dsn: dsn, redis: redis,
		root: filepath.Join(dir, "root-key"), log: filepath.Join(dir, "log"), output: filepath.Join(dir, "output"),
	}
	for file, text := range map[string]string{v.root: rootKeyFile(""), v.log: "", v.output: ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	engine, closeEngine := v.open(t)
	defer closeEngine()
	var paths []policy.Pattern
	for _, text := range []string{"**", "sys/**"} {
		pattern, err := policy.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, pattern)
	}
	set, err := policy.New("admin", []policy.Rule{{
		Effect: policy.Allow, Paths: paths, Capabilities: policy.Capabilities(), Subjects: policy.Subjects{Users: []string{"admin"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.ReplacePolicies(t.Context(), cluster, []policy.Policy{set}); err != nil {
		t.Fatal(err)
	}
	return v
}

// open opens the vault as another replica does.
func (v *victim) open(t *testing.T) (*vault.Engine, func()) {
	t.Helper()
	engine, closeEngine, err := open(t.Context(), vault.Options{
		DatabaseURL: v.dsn, RedisURL: v.redis, Notify: v.sinks != "", Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}, v.root)
	if err != nil {
		t.Fatalf("the vault does not open: %v", err)
	}
	return engine, closeEngine
}

// worker is this program again, as the worker of a run.
func (v *victim) worker(ctx context.Context, script string, clients int, run uint64, environment ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), workerSinks+"="+v.sinks, workerLog+"="+v.log, workerDSN+"="+v.dsn, workerRedis+"="+v.redis, workerRoot+"="+v.root,
		workerFlow+"="+script, workerClients+"="+strconv.Itoa(clients), workerSeed+"="+strconv.FormatUint(run, 10))
	cmd.Env = append(cmd.Env, environment...) // the last of a name counts
	return cmd
}

// outputTail is what the worker printed last.
func (v *victim) outputTail() string {
	const most = 4000
	text, err := os.ReadFile(v.output)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// forgetDead lets the time pass after which a promotion waits no longer for the replica that was killed.
func (v *victim) forgetDead(t *testing.T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), v.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), `UPDATE replicas SET seen_at = seen_at - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
}

// check opens the vault again and looks at the invariants, before and after it goes on with what was cut off.
func (v *victim) check(t *testing.T, row *result, run uint64) {
	t.Helper()
	engine, closeEngine := v.open(t)
	defer closeEngine()
	h := v.judge(t, row, engine)
	v.goOn(t, engine, h, strconv.FormatUint(run, 10))
	h = v.judge(t, row, engine)
	row.hold(t, "I4", append(h.unaudited(t, v.dsn), auditFindings(t, engine)...))
	row.hold(t, "I1", consumerFindings(t, engine))
	leaks := (&vaulttest.Env{DSN: v.dsn, RedisURL: v.redis}).Leaks(t, canary)
	if text, err := os.ReadFile(v.output); err != nil || bytes.Contains(text, []byte(canary)) {
		leaks = append(leaks, "the output of the worker")
	}
	row.hold(t, "I6", leaks)
}

func (v *victim) judge(t *testing.T, row *result, engine *vault.Engine) *history {
	t.Helper()
	h := readHistory(t, v.log)
	i1, i2 := h.replay()
	found, wrong := h.judge(t.Context(), engine)
	row.hold(t, "I1", append(i1, wrong...))
	row.hold(t, "I2", i2)
	log := v.appendLog(t)
	defer log.Close()
	for _, e := range found {
		if err := e.appendTo(log); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (v *victim) appendLog(t *testing.T) *os.File {
	t.Helper()
	log, err := os.OpenFile(v.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// goOn sends again, with their idempotency keys, the writes that were cut off in a run, and writes each path once more.
func (v *victim) goOn(t *testing.T, engine *vault.Engine, h *history, run string) {
	t.Helper()
	log := v.appendLog(t)
	defer log.Close()
	w := newWorker(engine, log, "check-"+run)
	for _, e := range h.cut(run) {
		e.Again = true
		if _, err := w.step(t.Context(), e); err != nil {
			t.Fatalf("%s again: %v", e.Op, err)
		}
	}
	for path := range h.paths {
		if _, err := w.step(t.Context(), event{Op: "put", Path: path}); err != nil {
			t.Fatalf("put %s after the fault: %v", path, err)
		}
	}
}

// consumerFindings says what is wrong with what was acknowledged: all or nothing of a batch, and all as it was written.
func consumerFindings(t *testing.T, engine *vault.Engine) []string {
	t.Helper()
	path, err := secret.ParsePath(acknowledgedPath)
	if err != nil {
		t.Fatal(err)
	}
	known, err := engine.ConsumersMoved(t.Context(), path, 1)
	switch {
	case errors.Is(err, secret.ErrTampered):
		return []string{err.Error()}
	case err != nil:
		t.Fatal(err)
	case known.Total != known.Moved || known.Total == 1:
		return []string{fmt.Sprintf("half of a batch was acknowledged: %+v", known)}
	}
	return nil
}

// auditFindings are what the verification of the whole log says.
func auditFindings(t *testing.T, engine *vault.Engine) (found []string) {
	t.Helper()
	report, err := engine.VerifyAudit(t.Context(), admin("check"), nil)
	if err != nil {
		t.Fatalf("the audit log cannot be verified: %v", err)
	}
	for _, finding := range report.Findings {
		found = append(found, fmt.Sprintf("the audit log does not verify: %+v", finding))
	}
	return found
}
