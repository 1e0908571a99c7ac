package vaultrotation

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// overdueAfter is how late a rotation is overdue: longer than any replica takes to find it due.
const overdueAfter = 5 * time.Minute

func longAgo(at, now time.Time) bool { return !at.IsZero() && now.Sub(at) >= overdueAfter }

// ready is the condition of an item that stands so.
func ready(it *item, now time.Time) metav1.Condition {
	if it.problem != nil {
		return notReady(it.problem.reason, it.problem.message)
	}
	s := it.standing
	run := s.Newest
	switch {
	case run != nil && !run.State.Ended():
		return readyWhile(run, s.Denied)
	case s.Denied:
		return notReady(vaultv1alpha1.ReasonDenied, denial(&it.definition))
	case longAgo(s.Next, now):
		return notReady(vaultv1alpha1.ReasonOverdue, fmt.Sprintf(
			"it was due at %s and has not begun: no manager does the rotations, see the managers' logs", s.Next.UTC().Format(time.RFC3339)))
	case run != nil && run.State != rotation.Done:
		return notReady(vaultv1alpha1.ReasonRotationFailed, failureOf(run))
	case it.definition.Suspended:
		return isReady(vaultv1alpha1.ReasonSuspended, "spec.suspend is true: nothing is due by time")
	case s.Busy:
		return isReady(vaultv1alpha1.ReasonRotating, "another rotation of the path is under way, such as one of another cluster: coffer rotation show "+it.definition.Path)
	case s.Next.IsZero():
		return isReady(vaultv1alpha1.ReasonScheduled, "it is rotated when somebody asks for it")
	}
	return isReady(vaultv1alpha1.ReasonScheduled, "it is due at "+s.Next.UTC().Format(time.RFC3339))
}

// readyWhile is the condition while a run is under way.
func readyWhile(run *rotation.Run, denied bool) metav1.Condition {
	path := run.Definition.Path
	switch {
	case run.NeedsSomebody():
		choice := "coffer rotation approve " + path
		if run.State != rotation.Withdrawing { // that goes back already
			choice += ", or coffer rotation cancel " + path
		}
		return notReady(vaultv1alpha1.ReasonWaitsForApproval, waitsFor(run)+": "+choice)
	case run.FailedIn != "":
		return notReady(vaultv1alpha1.ReasonRotationFailed, failureOf(run))
	case denied:
		return notReady(vaultv1alpha1.ReasonDenied, denial(&run.Definition))
	case run.Attempts > 0:
		return isReady(vaultv1alpha1.ReasonRotating, fmt.Sprintf("%s, and what follows is tried again: %s", run.State, reasonOf(run)))
	case waitsFor(run) != "":
		return isReady(vaultv1alpha1.ReasonRotating, fmt.Sprintf("%s: %s", run.State, waitsFor(run)))
	}
	return isReady(vaultv1alpha1.ReasonRotating, string(run.State))
}

func waitsFor(run *rotation.Run) string { return cut(run.WaitsFor(), maxReason) }

// failureOf tells how a run failed, and what became of it.
func failureOf(run *rotation.Run) string {
	what := map[rotation.State]string{
		rotation.RolledBack: "the former credential is current, and the new one is accepted no more; the next rotation is tried as the schedule says, or: coffer rotation run " +
			run.Definition.Path,
		rotation.Abandoned: "the new credential may be accepted still: revoke it by hand",
	}[run.State]
	if what == "" {
		what = "it is " + string(run.State)
	}
	return fmt.Sprintf("the rotation failed when it was %s: %s; %s", run.FailedIn, reasonOf(run), what)
}

// maxReason bounds what a status repeats of a run, in bytes.
const maxReason = 512

// reasonOf is why the run failed, or what went wrong last.
func reasonOf(run *rotation.Run) string {
	if run.Reason != "" {
		return cut(run.Reason, maxReason)
	}
	return cut(run.Problem, maxReason)
}

// denial says the same whether the path exists or not.
func denial(d *rotation.Definition) string {
	account := d.As.Namespace + "/" + d.As.ServiceAccount
	return fmt.Sprintf("the service account %s may not read and rotate %s, or there is no such path: coffer explain %s --service-account %s --capability rotate",
		account, d.Path, d.Path, account)
}

func isReady(reason, message string) metav1.Condition {
	return metav1.Condition{Type: vaultv1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reason, Message: message}
}

func notReady(reason, message string) metav1.Condition {
	return metav1.Condition{Type: vaultv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, Message: message}
}
