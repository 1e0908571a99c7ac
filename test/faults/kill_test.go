//go:build failpoints

package faults

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// runWithin bounds one run of the worker.
const runWithin = time.Minute

// hits are the times of a failpoint at which the process is killed, one after the other, on one vault.
var hits = []int{1, 3, 6}

// flow is an operation with failpoints, and what the worker does, again and again, to reach them.
type flow struct {
	name    string
	script  string
	clients int
	steps   []string
}

var steps = []string{failpoint.Begun, failpoint.BeforeCommit, failpoint.AfterCommit}

var flows = []flow{
	{"put", "put", 1, steps},
	{"rotate", "rotate", 1, steps},
	{"rollback", "put,put,rollback", 1, steps},
	{"promote", "put,put-pending,promote", 1, steps},
	{"delete", "delete", 1, steps},
	{"undelete", "put,delete,undelete", 1, steps},
	{"destroy", "put,destroy", 1, steps},
	{"delete-versions", "put,put,delete-versions", 1, steps},
	{"undelete-versions", "put,put,delete-versions,undelete-versions", 1, steps},
	{"destroy-versions", "put,put,destroy-versions", 1, steps},
	{"policy", "policy", 1, steps},
	{"key-add", "keys", 1, steps},
	{"key-promote", "keys", 1, steps},
	{"rewrap", "keys", 1, steps},
	{"key-retire", "keys", 1, steps},
	{"key-destroy", "keys", 1, steps},
	{"rekey", "keys", 1, steps},
	{"checkpoint", "retain", 1, steps},
	// Rows of several clients wait in one group.
	{"audit-flush", "read", 4, []string{failpoint.BeforeCommit, failpoint.AfterCommit}},
}

// TestKilled kills a process at every step of every flow. It fails for one that is never reached.
func TestKilled(t *testing.T) {
	only := regexp.MustCompile(os.Getenv("FAULTS_RUN"))
	for _, f := range flows {
		for _, step := range f.steps {
			if name := f.name + "/" + step; only.MatchString(name) {
				t.Run(name, func(t *testing.T) { killAt(t, name, f) })
			}
		}
	}
}

func killAt(t *testing.T, name string, f flow) {
	row := &result{fault: "killed: " + name}
	results.add(row)
	seed := uint64(1)
	if given := os.Getenv("FAULTS_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("FAULTS_SEED is no number: %v", err)
		}
	}
	v := newVictim(t)
	for _, hit := range hits {
		run := seed*100 + uint64(hit)
		v.runUntilKilled(t, fmt.Sprintf("%s:%d", name, hit), f, run)
		row.injected++
		v.forgetDead(t)
		v.check(t, row, run)
		if t.Failed() {
			t.Logf("repeat with: make faults FAULTS_RUN='^%s$' FAULTS_SEED=%d", name, seed)
			return
		}
	}
}

// victim is a vault, and the log of those who worked on it and were killed.
type victim struct{ dsn, redis, root, log, output string }

func newVictim(t *testing.T) *victim {
	t.Helper()
	dir := t.TempDir()
	v := &victim{
		dsn: testkit.Postgres(t), redis: testkit.Redis(t),
		root: filepath.Join(dir, "root-key"), log: filepath.Join(dir, "log"), output: filepath.Join(dir, "output"),
	}
	var key [32]byte
	_, _ = rand.Read(key[:])
	for file, text := range map[string]string{v.root: "current: " + base64.StdEncoding.EncodeToString(key[:]) + "\n", v.log: "", v.output: ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	engine, closeEngine, err := open(t.Context(), v.dsn, v.redis, v.root)
	if err != nil {
		t.Fatal(err)
	}
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

// runUntilKilled starts the worker with a failpoint armed, and demands that it dies of SIGKILL.
func (v *victim) runUntilKilled(t *testing.T, failpointAt string, f flow, seed uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runWithin)
	defer cancel()
	output, err := os.OpenFile(v.output, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), failpoint.Variable+"="+failpointAt, workerLog+"="+v.log, workerDSN+"="+v.dsn,
		workerRedis+"="+v.redis, workerRoot+"="+v.root, workerFlow+"="+f.script, workerClients+"="+strconv.Itoa(f.clients), workerSeed+"="+strconv.FormatUint(seed, 10))
	cmd.Stdout, cmd.Stderr = output, output
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s was not reached in %v", failpointAt, runWithin)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		text, _ := os.ReadFile(v.output)
		t.Fatalf("%s: the worker was not killed there: %v\n%s", failpointAt, err, text)
	}
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
	engine, closeEngine, err := open(t.Context(), v.dsn, v.redis, v.root)
	if err != nil {
		t.Fatalf("after the kill the vault does not open: %v", err)
	}
	defer closeEngine()
	h := v.judge(t, row, engine)
	v.goOn(t, engine, h, strconv.FormatUint(run, 10))
	h = v.judge(t, row, engine)
	row.hold(t, "I4", append(h.unaudited(t, v.dsn), auditFindings(t, engine)...))
	leaks := (&vaulttest.Env{DSN: v.dsn, RedisURL: v.redis}).Leaks(t, canary)
	if text, err := os.ReadFile(v.output); err != nil || bytes.Contains(text, []byte(canary)) {
		leaks = append(leaks, "the output of the killed process")
	}
	row.hold(t, "I6", leaks)
}

func (v *victim) judge(t *testing.T, row *result, engine *vault.Engine) *history {
	t.Helper()
	h := readHistory(t, v.log)
	i1, i2 := h.replay()
	row.hold(t, "I1", append(i1, h.judge(t.Context(), engine)...))
	row.hold(t, "I2", i2)
	return h
}

// goOn sends again, with their idempotency keys, the writes that were cut off in a run, and writes each path once more.
func (v *victim) goOn(t *testing.T, engine *vault.Engine, h *history, run string) {
	t.Helper()
	log, err := os.OpenFile(v.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w := newWorker(engine, log, "check-"+run)
	for _, e := range h.cut(run) {
		e.Again = true
		if err := w.step(t.Context(), e); err != nil {
			t.Fatalf("%s again: %v", e.Op, err)
		}
	}
	for path := range h.paths {
		if err := w.step(t.Context(), event{Op: "put", Path: path}); err != nil {
			t.Fatalf("put %s after the kill: %v", path, err)
		}
	}
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
