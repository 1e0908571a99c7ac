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
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// runWithin bounds one run of the worker.
const runWithin = time.Minute

// hits are the times of a failpoint at which the process is killed, one after the other, on one vault.
var hits = []int{1, 2, 5, 9}

// flows are the operations with failpoints, and what the worker does to reach them.
var flows = map[string]string{
	"put": "put", "rotate": "rotate", "delete": "delete", "policy": "policy", "rewrap": "keys", "rekey": "keys",
	"key-add": "keys", "key-promote": "keys", "key-retire": "keys", "key-destroy": "keys", "audit-flush": "read",
}

var steps = []string{failpoint.Begun, failpoint.BeforeCommit, failpoint.AfterCommit}

// TestKilled kills a process at every step of every flow. It fails for one that is never reached.
func TestKilled(t *testing.T) {
	only := regexp.MustCompile(os.Getenv("FAULTS_RUN"))
	for flow, op := range flows {
		for _, step := range steps {
			name := flow + "/" + step
			if flow == "audit-flush" && step == failpoint.Begun || !only.MatchString(name) {
				continue
			}
			t.Run(name, func(t *testing.T) { killAt(t, name, op) })
		}
	}
}

func killAt(t *testing.T, name, op string) {
	seed := uint64(1)
	if given := os.Getenv("FAULTS_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("FAULTS_SEED is no number: %v", err)
		}
	}
	v := newVictim(t)
	row := &result{fault: "killed: " + name}
	results.add(row)
	for _, hit := range hits {
		run := seed*100 + uint64(hit)
		v.runUntilKilled(t, fmt.Sprintf("%s:%d", name, hit), op, run)
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
func (v *victim) runUntilKilled(t *testing.T, failpointAt, op string, seed uint64) {
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
		workerRedis+"="+v.redis, workerRoot+"="+v.root, workerFlow+"="+op, workerSeed+"="+strconv.FormatUint(seed, 10))
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

// check opens the vault again and looks at the invariants.
func (v *victim) check(t *testing.T, row *result, run uint64) {
	t.Helper()
	engine, closeEngine, err := open(t.Context(), v.dsn, v.redis, v.root)
	if err != nil {
		t.Fatalf("after the kill the vault does not open: %v", err)
	}
	defer closeEngine()
	h := readHistory(t, v.log)
	i1, i2 := h.replay()
	row.hold(t, "I1", append(i1, h.judge(t.Context(), engine)...))
	row.hold(t, "I2", append(i2, v.nextNumbers(t, h, run)...))
	row.hold(t, "I4", h.unaudited(t, v.dsn))
	leaks := (&vaulttest.Env{DSN: v.dsn, RedisURL: v.redis}).Leaks(t, canary)
	if text, err := os.ReadFile(v.output); err != nil || bytes.Contains(text, []byte(canary)) {
		leaks = append(leaks, "the output of the killed process")
	}
	row.hold(t, "I6", leaks)
}

// nextNumbers writes each path once more, and returns those whose number is not new. The writes go into the log.
func (v *victim) nextNumbers(t *testing.T, h *history, run uint64) (i2 []string) {
	t.Helper()
	log, err := os.OpenFile(v.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	engine, closeEngine, err := open(t.Context(), v.dsn, v.redis, v.root)
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine()
	w := &worker{engine: engine, log: log, run: fmt.Sprintf("check-%d", run)}
	for path, s := range h.paths {
		w.n++
		e := event{Op: "put", Path: path, Request: fmt.Sprintf("%s-%d", w.run, w.n)}
		e.Value = canary + e.Request
		if err := errors.Join(w.write(e), w.do(t.Context(), &e)); err != nil {
			t.Fatal(err)
		}
		e.Done = true
		if err := w.write(e); err != nil {
			t.Fatal(err)
		}
		if e.Version <= s.highest {
			i2 = append(i2, fmt.Sprintf("%s version %d was given after %d", path, e.Version, s.highest))
		}
	}
	return i2
}
