//go:build failpoints

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/audit"
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

var (
	committed = []string{failpoint.BeforeCommit, failpoint.AfterCommit}
	// done is what a rotation has done to a system, and not written of itself.
	done = []string{failpoint.AfterAction}
)

var flows = []flow{
	{"put", "put", 1, steps},
	{"rotate", "rotate", 1, steps},
	{"patch", "patch", 1, steps},
	{"rollback", "put,put,rollback", 1, steps},
	{"promote", "put,put-pending,promote", 1, steps},
	{"update", "put,update", 1, steps},
	{"delete", "delete", 1, steps},
	{"undelete", "put,delete,undelete", 1, steps},
	{"destroy", "put,destroy", 1, steps},
	{"delete-versions", "put,put,delete-versions", 1, steps},
	{"undelete-versions", "put,put,delete-versions,undelete-versions", 1, steps},
	{"destroy-versions", "put,put,destroy-versions", 1, steps},
	{"policy", "policy", 1, steps},
	{"key-add", "keys", 1, steps},
	{"key-promote", "keys", 1, steps},
	// More versions than the last hit has batches, so that a rewrap is cut off in its middle.
	{"rewrap", "put,put,put,put,put,put,keys", 1, steps},
	{"key-retire", "keys", 1, steps},
	{"key-destroy", "keys", 1, steps},
	{"rekey", "keys", 1, steps},
	{"root-rewrap", "root", 1, steps},
	{"checkpoint", "retain", 1, steps},
	{"acknowledge", "acknowledge", 1, steps},
	{"consumers-forget", "acknowledge,forget", 1, steps},
	{"rotation-sync", "rotation", 1, committed},
	{"rotation-run", "rotation", 1, committed},
	{"rotation-step", "rotation", 1, steps},
	{"rotation-approve", "rotation-approved", 1, committed},
	{"rotation-cancel", "rotation-cancelled", 1, committed},
	{"rotation-fail", "rotation-failed", 1, committed},
	{"rotation-create", "rotation", 1, done},
	{"rotation-set", "rotation", 1, done},
	{"rotation-test", "rotation", 1, done},
	{"rotation-finish", "rotation", 1, done},
	{"rotation-revoke", "rotation-failed", 1, done},
	// Rows of several clients wait in one group.
	{"audit-flush", "read", 4, committed},
}

// withoutFlow are the actions that nobody is killed at by their name, and why.
var withoutFlow = map[audit.Action]string{
	audit.Read: onlyAudited, audit.List: onlyAudited, audit.Metadata: onlyAudited, audit.Versions: onlyAudited, audit.Check: onlyAudited,
	audit.Overdue: onlyAudited, audit.Explain: onlyAudited, audit.PolicyList: onlyAudited, audit.PolicyShow: onlyAudited, audit.KeyringStatus: onlyAudited, audit.Backup: onlyAudited, audit.Audit: onlyAudited,
	audit.Export: onlyAudited, audit.Verify: onlyAudited, audit.Watch: onlyAudited, audit.Consumers: onlyAudited, audit.LeakReport: onlyAudited, audit.RotationList: onlyAudited, audit.RotationShow: onlyAudited, audit.NotificationTest: onlyAudited,
	audit.Leak:   "it plans a run as rotation-run does, or changes one as rotation-approve does, or else writes its audit row and an event in one transaction",
	audit.Anchor: "it writes one audit row and how far heads are anchored, which the verification after every kill compares; what it leaves out it writes at the next start",
}

const onlyAudited = "it writes its audit row only: audit-flush"

// TestEveryWriteHasAFlow: an action of the audit log is one that the process is killed at, or it is known why not.
func TestEveryWriteHasAFlow(t *testing.T) {
	known := map[string]bool{}
	for _, f := range flows {
		known[f.name] = true
	}
	for _, action := range audit.Actions() {
		switch _, without := withoutFlow[action]; {
		case known[string(action)] && without:
			t.Errorf("%s has a flow, and a reason why not", action)
		case !known[string(action)] && !without:
			t.Errorf("%s has no flow: name one that reaches its failpoints, or say in withoutFlow why it writes nothing that could be half done", action)
		}
	}
}

// TestKilled kills a process at every step of every flow. It fails for one that is never reached.
func TestKilled(t *testing.T) {
	for _, f := range flows {
		for _, step := range f.steps {
			if name := f.name + "/" + step; asked().MatchString(name) {
				row := results.begin("killed: " + name)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					defer results.end(t, row, name)
					killAt(t, row, name, f)
				})
			}
		}
	}
}

func killAt(t *testing.T, row *result, name string, f flow) {
	v := newVictim(t, testkit.Postgres(t), testkit.Redis(t))
	cutOff := 0 // rewraps
	for _, hit := range hits {
		run := seed(t)*100 + uint64(hit)
		v.runUntilKilled(t, fmt.Sprintf("%s:%d", name, hit), f, run)
		row.injected++
		v.forgetDead(t)
		if f.name == string(audit.Rewrap) && v.resumeRewrap(t) {
			cutOff++
		}
		v.check(t, row, run)
		if t.Failed() {
			return
		}
	}
	if f.name == string(audit.Rewrap) && cutOff == 0 {
		t.Error("no rewrap was cut off with some versions under the new key and others under the old one")
	}
}

// runUntilKilled starts the worker with a failpoint armed, and demands that it dies of SIGKILL.
func (v *victim) runUntilKilled(t *testing.T, failpointAt string, f flow, run uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runWithin)
	defer cancel()
	output, err := os.OpenFile(v.output, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := v.worker(ctx, f.script, f.clients, run, failpoint.Variable+"="+failpointAt)
	cmd.Stdout, cmd.Stderr = output, output
	err = cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s was not reached in %v", failpointAt, runWithin)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("%s: the worker was not killed there: %v\n%s", failpointAt, err, v.outputTail())
	}
}
