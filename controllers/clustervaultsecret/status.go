package clustervaultsecret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// settleTime is how long the status waits for the outcome of VaultSecrets that are
// new, so that their first sync, however many they are, makes one write of it, and how
// long it waits at most for whatever reason. Most have one within a second.
const settleTime = 30 * time.Second

// maxMessage is the longest message of an outcome, in bytes; the CRD says so too.
const maxMessage = 256

// finish turns the outcomes into the status, one write of it at most, and the Result.
func (r *Reconciler) finish(ctx context.Context, s *scope, err error) (ctrl.Result, error) {
	if ctx.Err() != nil {
		return ctrl.Result{}, fmt.Errorf("interrupted; it is tried again: %w", ctx.Err())
	}
	invalid, isInvalid := errors.AsType[*invalidError](err)
	if err != nil && !isInvalid {
		return ctrl.Result{}, err // nothing was found out
	}
	now := r.Clock.Now()
	wait := settling(s.outcomes, now)
	if s.raced {
		s.lookAgain(conflictDelay)
		wait = conflictDelay
	}
	if wait = r.withheld.bounded(s.object.Name, wait, now); wait > 0 {
		s.lookAgain(wait)
	} else if err := r.writeStatus(ctx, s, invalid); err != nil {
		return ctrl.Result{}, err
	}
	if err := errors.Join(s.failures...); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: s.recheck}, nil
}

// settling is how long new VaultSecrets still have to get an outcome; 0 when there are
// none without, or one of them took too long.
func settling(outcomes []outcome, now time.Time) time.Duration {
	left := time.Duration(-1)
	for i := range outcomes {
		if since := outcomes[i].pendingSince; !since.IsZero() {
			// At most settleTime, should the API server's clock be ahead.
			rest := min(max(0, settleTime-now.Sub(since)), settleTime)
			if left < 0 || rest < left {
				left = rest
			}
		}
	}
	return max(0, left)
}

// writeStatus writes the status when it differs from what was read.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope, invalid *invalidError) error {
	status := &s.object.Status
	status.ObservedGeneration = s.object.Generation
	ready := metav1.Condition{
		Type: vaultv1alpha1.ConditionReady, Status: metav1.ConditionFalse, ObservedGeneration: s.object.Generation,
	}
	if invalid != nil {
		// What is there stays as it is, and so does what is said of it.
		ready.Reason, ready.Message = vaultv1alpha1.ReasonInvalidSpec, invalid.message
	} else {
		setOutcomes(status, s.outcomes)
		ready.Status, ready.Reason, ready.Message = summary(s.outcomes)
	}
	meta.SetStatusCondition(&status.Conditions, ready)
	if apiequality.Semantic.DeepEqual(s.before.Status, *status) {
		return nil
	}
	patch := client.MergeFromWithOptions(s.before, client.MergeFromWithOptimisticLock{})
	err := r.Status().Patch(ctx, s.object, patch)
	if apierrors.IsConflict(err) {
		s.lookAgain(conflictDelay)
		return nil
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write the status of ClusterVaultSecret %s: %w", s.object.Name, err)
	}
	return nil
}

// setOutcomes counts all outcomes and lists the most important.
func setOutcomes(status *vaultv1alpha1.ClusterVaultSecretStatus, outcomes []outcome) {
	list := make([]vaultv1alpha1.NamespaceOutcome, len(outcomes))
	status.Matched, status.Ready = int32(len(outcomes)), 0
	for i := range outcomes {
		if list[i] = outcomes[i].NamespaceOutcome; list[i].Ready {
			status.Ready++
		}
	}
	slices.SortFunc(list, func(a, b vaultv1alpha1.NamespaceOutcome) int {
		return cmp.Or(boolCompare(a.Ready, b.Ready), cmp.Compare(a.Namespace, b.Namespace))
	})
	status.Namespaces = list[:min(len(list), vaultv1alpha1.MaxNamespaceOutcomes)]
}

// boolCompare puts false before true.
func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// summary is the condition Ready: the worst outcome counts.
func summary(outcomes []outcome) (status metav1.ConditionStatus, reason, message string) {
	var failing, pending []string
	for i := range outcomes {
		switch o := &outcomes[i]; {
		case o.Ready:
		case o.Reason == vaultv1alpha1.ReasonProgressing:
			pending = append(pending, o.Namespace)
		default:
			failing = append(failing, o.Namespace+" ("+o.Reason+")")
		}
	}
	total := len(outcomes)
	switch {
	case total == 0:
		return metav1.ConditionTrue, vaultv1alpha1.ReasonNoNamespaces, "no namespace has the labels of spec.namespaceSelector"
	case len(failing) > 0:
		return metav1.ConditionFalse, vaultv1alpha1.ReasonNamespacesNotReady,
			fmt.Sprintf("not ready in %d of %d namespaces: %s", len(failing)+len(pending), total, enumerate(append(failing, pending...)))
	case len(pending) > 0:
		return metav1.ConditionFalse, vaultv1alpha1.ReasonProgressing,
			fmt.Sprintf("waiting for %d of %d namespaces: %s", len(pending), total, enumerate(pending))
	default:
		return metav1.ConditionTrue, vaultv1alpha1.ReasonSynced, fmt.Sprintf("the VaultSecret is ready in all %d namespaces", total)
	}
}

// enumerate joins a few names and counts the rest.
func enumerate(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func shortened(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-len("…")], "") + "…"
}
