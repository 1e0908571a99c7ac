package vaultrotation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// The status follows a rotation that an annotation began, and each step that people care about is told once.
func TestStatusFollowsARun(t *testing.T) {
	w := newWorld(t)
	w.readers.total.Store(3)
	w.readers.moved.Store(1)
	w.startRunner()
	w.startOperator()
	object := w.rotation("token")
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	if object.Status.LastRun != nil {
		t.Fatalf("before it ran: %+v", object.Status.LastRun)
	}
	w.ask(object, "2026-11-27T12:00:00Z")
	w.runIs(object, rotation.Propagating, func(r *vaultv1alpha1.RotationRun) bool {
		return r.Consumers == "1/3" && r.ConsumersMoved == 1 && r.ConsumersTotal == 3
	})
	if c := w.reasonIs(object, vaultv1alpha1.ReasonRotating); c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "1 of 3 consumers") {
		t.Errorf("Ready is %s: %s", c.Status, c.Message)
	}
	if run := object.Status.LastRun; run.Version != 2 || run.EndedAt != nil || !strings.Contains(run.WaitsFor, "1 of 3 consumers") || object.Status.NextRun != nil {
		t.Errorf("under way: %+v, and the next is at %v", run, object.Status.NextRun)
	}
	w.readers.moved.Store(2)
	w.runIs(object, rotation.Propagating, func(r *vaultv1alpha1.RotationRun) bool { return r.Consumers == "2/3" })
	w.readers.moved.Store(3)
	run := w.runIs(object, rotation.Done, whatever)
	if run.EndedAt == nil || run.Consumers != "3/3" || run.WaitsFor != "" || run.Reason != "" || run.FailedIn != "" || run.Cause != "event" {
		t.Errorf("done: %+v", run)
	}
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	if object.Status.LastRotateRequest != "2026-11-27T12:00:00Z" || object.Status.NextRun == nil {
		t.Errorf("afterwards: %+v", object.Status)
	}
	if got := w.version(); got != 2 {
		t.Errorf("version %d is current", got)
	}
	w.eventsAre(object, vaultv1alpha1.EventRotationStarted, vaultv1alpha1.EventRotationCurrent, vaultv1alpha1.EventRotationDone)
}

// An annotation is acted on once, also after a restart, and asks for another rotation when it changes. While one is under way it waits.
func TestRequestIsActedOnOnce(t *testing.T) {
	w := newWorld(t)
	w.readers.total.Store(1)
	w.startRunner()
	stop := w.startOperator()
	object := w.rotation("token", func(s *vaultv1alpha1.VaultRotationSpec) { s.Suspend = true }) // which is about time only
	w.ask(object, "one")
	first := w.runIs(object, rotation.Propagating, whatever).ID
	w.ask(object, "two")
	w.reasonIs(object, vaultv1alpha1.ReasonRotating)
	if got := object.Status.LastRotateRequest; got != "one" {
		t.Errorf("acted on %q while a rotation is under way", got)
	}
	w.readers.moved.Store(1)
	second := w.runIs(object, rotation.Done, func(r *vaultv1alpha1.RotationRun) bool { return r.ID != first }).ID
	if got := object.Status.LastRotateRequest; got != "two" {
		t.Errorf("acted on %q", got)
	}
	stop()

	// As when the operator is killed before it has written that it acted on it.
	object.Status.LastRotateRequest = "one"
	if err := w.client.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	w.startOperator()
	w.eventually(func() string {
		if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
			return err.Error()
		}
		if got := object.Status.LastRotateRequest; got != "two" {
			return fmt.Sprintf("acted on %q", got)
		}
		return ""
	})
	if id := w.runIs(object, rotation.Done, whatever).ID; id != second || w.version() != 3 {
		t.Errorf("the last run is %s, after %s, and version %d is current, want 3", id, second, w.version())
	}
}

// A run that is begun elsewhere is seen as well, and one that waits for somebody says for what.
func TestWaitsForApproval(t *testing.T) {
	w := newWorld(t)
	w.readers.total.Store(2)
	w.startRunner()
	w.startOperator()
	object := w.rotation("token", func(s *vaultv1alpha1.VaultRotationSpec) { s.Consumed.Wait = "50ms" })
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	w.run()
	condition := w.reasonIs(object, vaultv1alpha1.ReasonWaitsForApproval)
	for _, want := range []string{"0 of 2 consumers", "coffer rotation approve " + path, "coffer rotation cancel " + path} {
		if condition.Status != metav1.ConditionFalse || !strings.Contains(condition.Message, want) {
			t.Errorf("Ready is %s: %s, want %q in it", condition.Status, condition.Message, want)
		}
	}
	if _, err := w.vault.Engine.ApproveRotation(t.Context(), w.caller, vaulttest.Path(t, path)); err != nil {
		t.Fatal(err)
	}
	if run := w.runIs(object, rotation.Done, whatever); run.Cause != "hand" || run.Consumers != "0/2" {
		t.Errorf("the run is %+v", run)
	}
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	w.eventsAre(object, vaultv1alpha1.EventRotationStarted, vaultv1alpha1.EventRotationCurrent, vaultv1alpha1.ReasonWaitsForApproval, vaultv1alpha1.EventRotationDone)
}

// A rotation that fails says why, and what became of it, until one is done.
func TestRotationFails(t *testing.T) {
	w := newWorld(t)
	w.readers.total.Store(1)
	w.startRunner()
	w.startOperator()
	object := w.rotation("token")
	w.run()
	w.runIs(object, rotation.Propagating, whatever)
	if err := w.vault.Engine.FailRotation(t.Context(), vaulttest.Path(t, path), 2, "the pods crash"); err != nil {
		t.Fatal(err)
	}
	w.runIs(object, rotation.Withdrawing, whatever)
	if c := w.reasonIs(object, vaultv1alpha1.ReasonRotationFailed); !strings.Contains(c.Message, "failed when it was propagating: the pods crash; it is withdrawing") {
		t.Errorf("it says %s", c.Message)
	}
	w.readers.moved.Store(1)
	run := w.runIs(object, rotation.RolledBack, whatever)
	if run.FailedIn != string(rotation.Propagating) || run.Reason != "the pods crash" || run.EndedAt == nil {
		t.Errorf("the run is %+v", run)
	}
	c := w.reasonIs(object, vaultv1alpha1.ReasonRotationFailed)
	if c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "the former credential is current") || object.Status.NextRun == nil {
		t.Errorf("Ready is %s: %s; the next is at %v", c.Status, c.Message, object.Status.NextRun)
	}
	if got := w.version(); got != 1 {
		t.Errorf("version %d is current", got)
	}
	w.eventsAre(object, vaultv1alpha1.EventRotationStarted, vaultv1alpha1.EventRotationCurrent, vaultv1alpha1.ReasonRotationFailed, vaultv1alpha1.EventRotationRolledBack)
	w.run()
	w.runIs(object, rotation.Done, whatever)
	if c := w.reasonIs(object, vaultv1alpha1.ReasonScheduled); c.Status != metav1.ConditionTrue {
		t.Errorf("after one that was done Ready is %s", c.Status)
	}
}

// While nothing happens nothing is written, though it is looked again and again.
func TestNothingIsWrittenForNothing(t *testing.T) {
	w := newWorld(t)
	w.readers.total.Store(1)
	w.startRunner()
	w.startOperator()
	object := w.rotation("token")
	w.run()
	w.runIs(object, rotation.Propagating, whatever)
	w.reasonIs(object, vaultv1alpha1.ReasonRotating)
	before := object.DeepCopy()
	looked := w.engine.looked.Load()
	w.eventually(func() string {
		if n := w.engine.looked.Load() - looked; n < 3 {
			return fmt.Sprintf("it was looked %d times", n)
		}
		return ""
	})
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, object); diff != "" {
		t.Errorf("it was written (-before +after):\n%s", diff)
	}
	w.eventsAre(object, vaultv1alpha1.EventRotationStarted, vaultv1alpha1.EventRotationCurrent)
}
