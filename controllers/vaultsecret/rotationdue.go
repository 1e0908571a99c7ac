package vaultsecret

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// reminder is when the current version of a path is to be replaced, as its owner wants it.
type reminder struct {
	path secret.Path
	days int
	due  time.Time
}

func (r *reminder) overdue(now time.Time) bool { return now.After(r.due) }

// remindersOf are those of the paths whose current version the VaultSecret is of, what is due first in front. Of a pinned version it
// is not known whether the path was rotated since.
func remindersOf(versions []secret.Metadata) []reminder {
	var found []reminder
	for i := range versions {
		v := &versions[i]
		if v.RotateAfterDays <= 0 || !slices.Contains(v.Labels, secret.Current) {
			continue
		}
		if slices.ContainsFunc(found, func(r reminder) bool { return r.path == v.Path }) {
			continue
		}
		found = append(found, reminder{v.Path, v.RotateAfterDays, v.CreatedAt.AddDate(0, 0, v.RotateAfterDays)})
	}
	slices.SortStableFunc(found, func(a, b reminder) int { return a.due.Compare(b.due) })
	return found
}

// setRotationDue says in the status whether a path is to be rotated. What was said of an earlier run stays while the vault does not
// answer, and goes with the right to the paths.
func setRotationDue(s *scope, f *failure, now time.Time) {
	conditions := &s.object.Status.Conditions
	reminders := remindersOf(s.versions)
	switch {
	case len(reminders) > 0:
		meta.SetStatusCondition(conditions, rotationDue(s.object, reminders, now))
	case s.versions != nil, f != nil && f.revoked:
		meta.RemoveStatusCondition(conditions, vaultv1alpha1.ConditionRotationDue)
	}
}

func rotationDue(object *vaultv1alpha1.VaultSecret, reminders []reminder, now time.Time) metav1.Condition {
	condition := metav1.Condition{
		Type: vaultv1alpha1.ConditionRotationDue, ObservedGeneration: object.Generation,
		Status: metav1.ConditionFalse, Reason: vaultv1alpha1.ReasonRotationNotDue,
		Message: fmt.Sprintf("the next rotation is that of %s, due at %s", reminders[0].path, reminders[0].due.UTC().Format(time.RFC3339)),
	}
	var late []string
	for i := range reminders {
		if r := &reminders[i]; r.overdue(now) {
			late = append(late, fmt.Sprintf("%s (every %d days, since %s)", r.path, r.days, r.due.UTC().Format(time.DateOnly)))
		}
	}
	if len(late) > 0 {
		condition.Status, condition.Reason = metav1.ConditionTrue, vaultv1alpha1.ReasonRotationOverdue
		condition.Message = cut("the rotation is overdue of "+enumerate(late)+"; coffer rotate writes a new value", maxMessage)
	}
	return condition
}

// untilRotationDue is the wait for the next path to be due; 0 when there is none.
func untilRotationDue(s *scope, now time.Time) time.Duration {
	if s.object.Spec.Suspend {
		return 0
	}
	for _, r := range remindersOf(s.versions) {
		if !r.overdue(now) {
			return untilRightsChange(r.due, now)
		}
	}
	return 0
}

// recordRotationDue tells once that a path became due.
func (r *Reconciler) recordRotationDue(s *scope) {
	due := func(o *vaultv1alpha1.VaultSecret) *metav1.Condition {
		return meta.FindStatusCondition(o.Status.Conditions, vaultv1alpha1.ConditionRotationDue)
	}
	before, now := due(s.before), due(s.object)
	if now == nil || now.Status != metav1.ConditionTrue || before != nil && before.Status == metav1.ConditionTrue {
		return
	}
	r.event(s.object, corev1.EventTypeWarning, now.Reason, "Rotate", now.Message)
}
