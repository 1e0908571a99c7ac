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
