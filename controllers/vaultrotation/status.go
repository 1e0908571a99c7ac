package vaultrotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// writeStatuses tells each VaultRotation how it stands. While the policies are not in force a denial is not told of.
func (r *Reconciler) writeStatuses(ctx context.Context, set *rotations, policiesInForce bool) error {
	var errs []error
	for i := range set.items {
		it := &set.items[i]
		if s := it.standing; s != nil && s.Denied && !policiesInForce {
			continue // it may be allowed in a moment
		}
		err := r.writeStatus(ctx, it)
		if apierrors.IsConflict(err) {
			set.raced = true
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// writeStatus writes only what differs, and records what that says to people. One that is still in force as it was keeps its status while the
// database does not answer.
func (r *Reconciler) writeStatus(ctx context.Context, it *item) error {
	object := it.object
	known := it.problem != nil || it.standing != nil
	if !known && object.Status.ObservedGeneration == object.Generation {
		return nil
	}
	before := object.DeepCopy()
	if known {
		setStatus(it, r.Clock.Now())
	} else {
		condition := notReady(vaultv1alpha1.ReasonVaultUnavailable,
			"the vault's database cannot be reached now; what was in force stays, and it is tried again")
		condition.ObservedGeneration = object.Generation
		meta.SetStatusCondition(&object.Status.Conditions, condition)
	}
	if apiequality.Semantic.DeepEqual(before.Status, object.Status) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(ctx, object, patch); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		return fmt.Errorf("write the status of VaultRotation %s: %w", object.Name, err)
	}
	r.recordEvents(before, object)
	return nil
}

// setStatus puts into the status how an item stands.
func setStatus(it *item, now time.Time) {
	object := it.object
	status := &object.Status
	status.ObservedGeneration = object.Generation
	condition := ready(it, now)
	condition.ObservedGeneration = object.Generation
	meta.SetStatusCondition(&status.Conditions, condition)
	status.NextRun, status.Overdue = nil, false
	if s := it.standing; s != nil {
		status.LastRun = runOf(s.Newest)
		status.Overdue = longAgo(s.OverdueSince, now)
		if !s.Next.IsZero() {
			next := metav1.NewTime(s.Next.Truncate(time.Second))
			status.NextRun = &next
		}
	}
	if it.request != nil {
		status.LastRotateRequest = *it.request
	}
}

// runOf is what a status tells of a run; nil for none.
func runOf(run *rotation.Run) *vaultv1alpha1.RotationRun {
	if run == nil {
		return nil
	}
	shown := &vaultv1alpha1.RotationRun{
		ID: run.ID, State: string(run.State), Cause: string(run.Cause), StartedAt: metav1.NewTime(run.PlannedAt.Truncate(time.Second)), Version: run.To,
		ConsumersMoved: int32(run.Moved), ConsumersTotal: int32(run.Total), FailedIn: string(run.FailedIn), Reason: reasonOf(run), WaitsFor: waitsFor(run),
	}
	if run.TurnedAt != nil {
		shown.Consumers = fmt.Sprintf("%d/%d", run.Moved, run.Total)
	}
	if run.State.Ended() {
		ended := metav1.NewTime(run.EnteredAt.Truncate(time.Second))
		shown.EndedAt = &ended
	}
	return shown
}
