package vaultrotation

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// happening is an Event to record.
type happening struct{ kind, reason, action, note string }

// recordEvents tells of transitions that a person cares about, each once: it is called when the status that tells of them was written.
func (r *Reconciler) recordEvents(before, now *vaultv1alpha1.VaultRotation) {
	for _, h := range append(ofRun(before.Status.LastRun, now), ofCondition(before, now)...) {
		r.Recorder.Eventf(now, nil, h.kind, h.reason, h.action, "%s", cut(h.note, maxNote))
	}
}

// rotating is the action of Events about a run.
const rotating = "Rotate"

// maxNote is the longest note that the API server takes of an event (k8s.io/kubernetes/pkg/apis/core/validation, NoteLengthLimit).
const maxNote = 1024

// milestone is what people are told of a run.
type milestone int

const (
	planned milestone = iota + 1
	turned
	failed
	ended
)

// milestones are those that a run has passed; none when there is no run. Between two looks a run may pass several.
func milestones(run *vaultv1alpha1.RotationRun) []milestone {
	if run == nil {
		return nil
	}
	passed := []milestone{planned}
	if becameCurrent(run) {
		passed = append(passed, turned)
	}
	if run.FailedIn != "" {
		passed = append(passed, failed)
	}
	if run.EndedAt != nil {
		passed = append(passed, ended)
	}
	return passed
}

// becameCurrent reports whether the new version was the one that a read got.
func becameCurrent(run *vaultv1alpha1.RotationRun) bool {
	after := func(state string) bool {
		switch rotation.State(state) {
		case rotation.Current, rotation.Propagating, rotation.Retiring, rotation.Done, rotation.Withdrawing:
			return true
		default:
			return false
		}
	}
	return after(run.State) || after(run.FailedIn)
}

// ofRun are the Events of what the newest run has passed since before.
func ofRun(before *vaultv1alpha1.RotationRun, now *vaultv1alpha1.VaultRotation) []happening {
	run := now.Status.LastRun
	if run == nil {
		return nil
	}
	var told []milestone
	if before != nil && before.ID == run.ID {
		told = milestones(before)
	}
	var happenings []happening
	for _, m := range milestones(run) {
		if !slices.Contains(told, m) {
			happenings = append(happenings, ofMilestone(m, run, string(now.Spec.Path)))
		}
	}
	return happenings
}

func ofMilestone(m milestone, run *vaultv1alpha1.RotationRun, path string) happening {
	switch m {
	case planned:
		return happening{corev1.EventTypeNormal, vaultv1alpha1.EventRotationStarted, rotating, fmt.Sprintf("the rotation of %s has begun, by %s", path, run.Cause)}
	case turned:
		return happening{corev1.EventTypeNormal, vaultv1alpha1.EventRotationCurrent, rotating,
			fmt.Sprintf("version %d of %s is current; consumers are waited for", run.Version, path)}
	case failed:
		return happening{corev1.EventTypeWarning, vaultv1alpha1.ReasonRotationFailed, rotating,
			fmt.Sprintf("the rotation of %s failed when it was %s: %s", path, run.FailedIn, run.Reason)}
	default:
		return ofEnd(run, path)
	}
}

func ofEnd(run *vaultv1alpha1.RotationRun, path string) happening {
	switch rotation.State(run.State) {
	case rotation.Done:
		return happening{corev1.EventTypeNormal, vaultv1alpha1.EventRotationDone, rotating,
			fmt.Sprintf("the rotation of %s is done: version %d is current, and the former credential is accepted no more", path, run.Version)}
	case rotation.RolledBack:
		return happening{corev1.EventTypeWarning, vaultv1alpha1.EventRotationRolledBack, rotating,
			fmt.Sprintf("the rotation of %s is rolled back: the former credential is current, and the new one is accepted no more", path)}
	default:
		return happening{corev1.EventTypeWarning, vaultv1alpha1.EventRotationAbandoned, rotating,
			fmt.Sprintf("the rotation of %s is abandoned: the new credential may be accepted still, revoke it by hand", path)}
	}
}

// ofCondition are the Events of a condition that is another, where its run does not tell.
func ofCondition(before, now *vaultv1alpha1.VaultRotation) []happening {
	was := meta.FindStatusCondition(before.Status.Conditions, vaultv1alpha1.ConditionReady)
	is := meta.FindStatusCondition(now.Status.Conditions, vaultv1alpha1.ConditionReady)
	if is == nil || is.Status == metav1.ConditionTrue || was != nil && was.Reason == is.Reason {
		return nil
	}
	switch is.Reason {
	case vaultv1alpha1.ReasonRotationFailed: // the run tells
		return nil
	case vaultv1alpha1.ReasonWaitsForApproval, vaultv1alpha1.ReasonOverdue:
		return []happening{{corev1.EventTypeWarning, is.Reason, rotating, is.Message}}
	}
	return []happening{{corev1.EventTypeWarning, is.Reason, "Define", is.Message}}
}
