package vaultsecret_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/method"
	"github.com/coffer-vault/coffer/internal/vault/rotation/runner"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// toldOf remembers of which versions it was told, and can be made to refuse.
type toldOf struct {
	mu   sync.Mutex
	told []string
	why  string
	down bool
}

func (o *toldOf) FailRotation(_ context.Context, path secret.Path, version int64, reason string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, fmt.Sprintf("%s %d", path, version))
	o.why = reason
	if o.down {
		return errors.New("the database is away")
	}
	return nil
}

// isTold waits until it was told so.
func (w *world) isTold(o *toldOf, want ...string) {
	w.t.Helper()
	w.eventually(func() string {
		o.mu.Lock()
		defer o.mu.Unlock()
		return cmp.Diff(want, o.told)
	})
}

// The vault is told once of a version that the Secret was taken back from, and after a restart once more; what failed to be told is told again.
func TestVaultIsToldOfWhatWasTakenBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := &toldOf{down: true}
	op := w.startOperatorWith(w.namespace, true, func(o *operator) { o.engine.failer = told })
	awaits(op.synced)
	object, d := w.rotatedOnce()
	w.missesDeadline(d)
	w.isBack(object, "one", 1)
	w.eventually(func() string {
		told.mu.Lock()
		defer told.mu.Unlock()
		if len(told.told) == 0 || !strings.Contains(told.why, w.namespace+"/payments: the rollout of Deployment/api failed: ") {
			return fmt.Sprintf("told of %v, since %q", told.told, told.why)
		}
		told.told, told.down = nil, false
		return ""
	})
	w.isTold(told, database+" 2")
	w.reconciled(op, object)
	w.isTold(told, database+" 2")
	op.stop()
	op = w.startOperatorWith(w.namespace, true, func(o *operator) { o.engine.failer = told })
	w.reconciled(op, object)
	w.isTold(told, database+" 2", database+" 2")
}

// A rollout that is held is told of too; one whose failures are ignored is not.
func TestVaultIsToldOfWhatIsHeld(t *testing.T) {
	t.Parallel()
	for policy, want := range map[vaultv1alpha1.RolloutFailurePolicy][]string{
		vaultv1alpha1.OnFailureHold: {database + " 2"}, vaultv1alpha1.OnFailureIgnore: nil,
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			told := &toldOf{}
			op := w.startOperatorWith(w.namespace, true, func(o *operator) { o.engine.failer = told })
			awaits(op.synced)
			w.put(database, "one")
			object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
				s.Path, s.Rollout.OnFailure = database, policy
			})
			d := w.deployment("api", envFrom("payments"))
			w.ready(w.rolledOutFirst(object, d))
			w.rotate(database, "two")
			w.stampIs(d, "payments", w.stampOf(object, "two"))
			w.missesDeadline(d)
			w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRolloutFailed)
			w.reconciled(op, object)
			w.isTold(told, want...)
		})
	}
}

// holders are the consumers that the engine knows: those of a version have that one.
type holders struct{ *counted }

func (h holders) Consumers(ctx context.Context, path secret.Path, version int64) (total, moved int, err error) {
	p, err := h.ConsumersMoved(ctx, path, version)
	return p.Total, p.Moved, err
}

func (h holders) ConsumersBack(ctx context.Context, path secret.Path, version int64) (total, back int, err error) {
	p, err := h.counted.ConsumersBack(ctx, path, version)
	return p.Total, p.Moved, err
}

// startRunner brings rotations on, at a pace of milliseconds.
func (w *world) startRunner(op *operator) {
	w.t.Helper()
	r := &runner.Runner{
		Vault: op.engine, Consumers: holders{op.engine}, Look: 20 * time.Millisecond, Plan: 100 * time.Millisecond,
		Pace: rotation.Pace{Poll: 50 * time.Millisecond, Retry: 20 * time.Millisecond, Longest: time.Second},
		Rotators: func(ctx context.Context, m rotation.Method, read runner.Reader) (rotator.Rotator, error) {
			return method.Methods{}.New(ctx, m.Kind, m.Settings, method.Reader(read))
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
}

// rotatesDatabase defines the rotation of the database's password, and has it begin.
func (w *world) rotatesDatabase(asked rotation.Request, consumed rotation.Consumed) secret.Path {
	w.t.Helper()
	w.allowTo("rotator", "production/payments/**", "read", "rotate")
	path := vaulttest.Path(w.t, database)
	_, err := w.vault.Engine.ReplaceRotations(w.t.Context(), w.namespace, []rotation.Definition{{
		Name: "database", As: rotation.Identity{Namespace: w.namespace, ServiceAccount: "rotator", Environment: "production"},
		Spec: rotation.Spec{
			Path: database, Method: rotation.Method{Kind: method.Generate, Settings: []byte(`{"password":{}}`)}, Consumed: consumed,
		},
	}})
	must(w.t, err)
	w.eventually(func() string {
		if _, err := w.vault.Engine.RunRotation(context.Background(), w.vault.Admin, path, asked); err != nil {
			return err.Error() // the policy is not in force yet
		}
		return ""
	})
	return path
}

// runIs waits until the only run is as state says.
func (w *world) runIs(path secret.Path, state rotation.State) (run rotation.Run) {
	w.t.Helper()
	w.eventually(func() string {
		_, history, err := w.vault.Engine.ShowRotation(context.Background(), w.vault.Admin, path)
		if err != nil || len(history) != 1 || history[0].Run.State != state {
			return fmt.Sprintf("the runs are %+v, %v", history, err)
		}
		run = history[0].Run
		return ""
	})
	return run
}

// A rotation whose workloads do not come up is rolled back everywhere: also in the Secrets whose own workloads do, and no Secret refuses anything
// afterwards.
func TestFailedRolloutRollsTheRotationBack(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.startRunner(op)
	w.put(database, "one")
	object, other := w.ofPath("payments", database), w.ofPath("other", database)
	d, fine := w.deployment("api", envFrom("payments")), w.deployment("fine", envFrom("other"))
	w.ready(w.rolledOutFirst(object, d))
	w.ready(w.rolledOutFirst(other, fine))
	w.knownGood(object, 1)
	w.knownGood(other, 1)

	path := w.rotatesDatabase(rotation.Request{}, rotation.Consumed{Grace: new(model.Duration(0))})
	w.versionIs(object, 2)
	w.versionIs(other, 2)
	w.stamped(d, "payments")
	w.stamped(fine, "other")
	w.rolledOut(fine)
	w.missesDeadline(d)

	w.eventually(func() string {
		for _, obj := range []*vaultv1alpha1.VaultSecret{object, other} {
			if got := refreshed(w, obj).Status; got.Version != 1 {
				return fmt.Sprintf("%s has version %d: %+v", obj.Name, got.Version, got.Conditions)
			}
		}
		return ""
	})
	w.holds("payments", map[string]string{"value": "one"})
	w.holds("other", map[string]string{"value": "one"})
	// As it was made; or, when the vault went back before the operator had rolled it, for what the Secret holds again.
	w.eventually(func() string {
		workload, _ := rollout.FromObject(refreshed(w, d))
		if got, now := workload.Stamp("payments"), w.secret("payments").Annotations[vaultv1alpha1.ChecksumAnnotation]; got != "" && got != now {
			return fmt.Sprintf("the stamp of %s is %q, want none or %q", d.Name, got, now)
		}
		return ""
	})
	w.rolledOut(d)
	w.stamped(fine, "other")
	w.rolledOut(fine)
	run := w.runIs(path, rotation.RolledBack)
	if want := w.namespace + "/payments: the rollout of Deployment/api failed: "; run.FailedIn != rotation.Propagating || !strings.Contains(run.Reason, want) {
		t.Errorf("it failed when it was %s: %s", run.FailedIn, run.Reason)
	}
	w.ready(object)
	w.ready(other)
	if got := refreshed(w, object).Status.Rejected; got != nil {
		t.Errorf("refused is still %+v", got)
	}
	if _, err := w.vault.Engine.Read(t.Context(), w.vault.Admin, secret.Ref{Path: path, Version: 2}); !errors.Is(err, secret.ErrVersionDestroyed) {
		t.Errorf("version 2 reads with %v", err)
	}
}

// A Secret does not go back to a version whose credential is retired, though its workloads do not come up with the new one: its status says why.
func TestRetiredVersionIsNotGoneBackTo(t *testing.T) {
	t.Parallel()
	isDeleted := "the last good " + database + " version 1 is deleted"
	t.Run("revoked at once", func(t *testing.T) {
		t.Parallel()
		w, op := newRunningWorld(t)
		w.startRunner(op)
		w.put(database, "one")
		object, d := w.ofPath("payments", database), w.deployment("api", envFrom("payments"))
		w.ready(w.rolledOutFirst(object, d))
		w.knownGood(object, 1)
		path := w.rotatesDatabase(rotation.Request{RevokeOld: true}, rotation.Consumed{})
		w.runIs(path, rotation.Done)
		w.versionIs(object, 2)
		w.stamped(d, "payments")
		w.missesDeadline(d)
		w.hasNoWayBack(object, "it cannot be rolled back: "+isDeleted)
		w.reconciled(op, object)
		w.versionIs(object, 2)
		w.runIs(path, rotation.Done)
	})
	t.Run("approved after it went back", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		// What it is told came too late.
		op := w.startOperatorWith(w.namespace, true, func(o *operator) { o.engine.failer = &toldOf{} })
		awaits(op.synced)
		w.startRunner(op)
		w.put(database, "one")
		object, d := w.ofPath("payments", database), w.deployment("api", envFrom("payments"))
		w.ready(w.rolledOutFirst(object, d))
		w.knownGood(object, 1)
		path := w.rotatesDatabase(rotation.Request{}, rotation.Consumed{Grace: new(model.Duration(0))})
		w.versionIs(object, 2)
		w.stamped(d, "payments")
		w.missesDeadline(d)
		w.isBack(object, "one", 1)
		w.stampIs(d, "payments", "")
		w.rolledOut(d)
		_, err := w.vault.Engine.ApproveRotation(t.Context(), w.vault.Admin, path)
		must(t, err)
		w.runIs(path, rotation.Done)
		w.versionIs(object, 2)
		w.stamped(d, "payments")
		w.saysLastGoodLost(object, isDeleted)
		w.missesDeadline(d)
		w.hasNoWayBack(object, "it cannot be rolled back: "+isDeleted)
	})
}

// versionIs waits until the Secret has the version.
func (w *world) versionIs(object *vaultv1alpha1.VaultSecret, want int64) {
	w.t.Helper()
	w.eventually(func() string {
		if got := refreshed(w, object).Status.Version; got != want {
			return fmt.Sprintf("%s has version %d, want %d", object.Name, got, want)
		}
		return ""
	})
}
