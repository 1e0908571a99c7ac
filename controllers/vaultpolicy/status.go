package vaultpolicy

import (
	"context"
	"errors"
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// writeStatuses tells each VaultPolicy whether it is in force. replaceErr is why
// the set as a whole is not.
func (r *Reconciler) writeStatuses(ctx context.Context, set converted, replaceErr error) error {
	blocked := set.blocked()
	var errs []error
	for i := range set.objects {
		ready := readyCondition(set.errs[i], blocked, replaceErr)
		errs = append(errs, r.writeStatus(ctx, &set.objects[i], ready))
	}
	return errors.Join(errs...)
}

func readyCondition(invalid error, blocked bool, replaceErr error) metav1.Condition {
	condition := metav1.Condition{Type: vaultv1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch {
	case invalid != nil:
		condition.Reason = vaultv1alpha1.ReasonInvalidSpec
		condition.Message = "the policy is not enforced: " + invalid.Error()
	case blocked:
		condition.Reason = vaultv1alpha1.ReasonBlocked
		condition.Message = "another VaultPolicy that denies something is invalid; until it is corrected no change of policy takes effect"
	case replaceErr != nil:
		condition.Reason = vaultv1alpha1.ReasonVaultUnavailable
		condition.Message = "the vault's database cannot be reached now; what was in force stays, and it is tried again"
	default:
		condition.Status = metav1.ConditionTrue
		condition.Reason = vaultv1alpha1.ReasonEnforced
		condition.Message = "the rules are in force"
	}
	return condition
}

// writeStatus writes only what differs. A policy that is still in force as it was
// keeps its status while the database does not answer.
func (r *Reconciler) writeStatus(ctx context.Context, object *vaultv1alpha1.VaultPolicy, ready metav1.Condition) error {
	enforced := object.Status.ObservedGeneration == object.Generation &&
		meta.IsStatusConditionTrue(object.Status.Conditions, vaultv1alpha1.ConditionReady)
	if enforced && (ready.Reason == vaultv1alpha1.ReasonVaultUnavailable || ready.Reason == vaultv1alpha1.ReasonBlocked) {
		return nil
	}
	before := object.DeepCopy()
	ready.ObservedGeneration = object.Generation
	meta.SetStatusCondition(&object.Status.Conditions, ready)
	if ready.Status == metav1.ConditionTrue {
		object.Status.ObservedGeneration = object.Generation
	}
	if apiequality.Semantic.DeepEqual(before.Status, object.Status) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Status().Patch(ctx, object, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of VaultPolicy %s: %w", object.Name, err)
	}
	return nil
}
