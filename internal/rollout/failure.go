package rollout

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// judge says how a rollout of ours stands, from the workload's own state and what was
// seen of its new pods: status has the state, its message, and RollingSince while the
// rollout is not yet known to have succeeded. It fails
//
//   - when the workload says so: a Deployment that missed its progress deadline, an
//     Argo Rollout that is degraded or aborted;
//   - when a container of a new pod crashes again and again, of whatever kind;
//   - when a new pod of a StatefulSet or DaemonSet, which have no deadline of their
//     own, is not ready for a while.
//
// A container that crashed once, or cannot be made yet, is given the time until the
// deadline. excuse says that the workload's own deadline tells nothing (see excused).
func judge(w Workload, pods sighting, since time.Time, excuse bool) vaultv1alpha1.WorkloadStatus {
	status := asTold(w, since, excuse)
	switch {
	case status.State == vaultv1alpha1.WorkloadFailed:
	case pods.crash != "":
		status.State, status.Message = vaultv1alpha1.WorkloadFailed, pods.crash
	case status.State == vaultv1alpha1.WorkloadCurrent && pods.settled:
		status.RollingSince = nil
	case status.State == vaultv1alpha1.WorkloadRollingOut && pods.stuck && !hasDeadline(w.Kind):
		status.State = vaultv1alpha1.WorkloadFailed
		status.Message = "a new pod has not been ready for ten minutes; kubectl get pods -n " + w.Object.GetNamespace()
	}
	return status
}

// asTold is the status of a rollout of ours by what the workload says alone.
func asTold(w Workload, since time.Time, excuse bool) vaultv1alpha1.WorkloadStatus {
	status := newStatus(w)
	status.RollingSince = microTime(since)
	status.State, status.Message = w.State()
	if status.State == vaultv1alpha1.WorkloadFailed && excuse {
		status.State = vaultv1alpha1.WorkloadRollingOut
		status.Message = "the Secret was not there for a while: its deadline counts from when it was back"
	}
	return status
}

// cameBack is when the Secret came back in the midst of a rollout that began at since:
// what its pods did before tells nothing of the content. Zero when it was there all the
// time.
func (c Content) cameBack(since time.Time) time.Time {
	if c.ThereSince.After(since) {
		return c.ThereSince
	}
	return time.Time{}
}

// excused reports whether a workload may miss its deadline only because the Secret was not
// there: it came back less than a deadline ago.
func excused(w Workload, cameBack, now time.Time) bool {
	return !cameBack.IsZero() && now.Before(cameBack.Add(deadlineOf(w)))
}

// defaultDeadline is that of a Deployment and of an Argo Rollout that say nothing
// (k8s.io/api/apps/v1.DeploymentSpec.ProgressDeadlineSeconds, and
// https://argo-rollouts.readthedocs.io/en/stable/features/specification/).
const defaultDeadline = 10 * time.Minute

// deadlineOf is the workload's own progress deadline; the default where it has none.
func deadlineOf(w Workload) time.Duration {
	switch o := w.Object.(type) {
	case *appsv1.Deployment:
		if o.Spec.ProgressDeadlineSeconds != nil {
			return time.Duration(*o.Spec.ProgressDeadlineSeconds) * time.Second
		}
	case *unstructured.Unstructured:
		if seconds, found, err := unstructured.NestedInt64(o.Object, "spec", "progressDeadlineSeconds"); err == nil && found {
			return time.Duration(seconds) * time.Second
		}
	}
	return defaultDeadline
}

// hasDeadline reports whether the workload's own controller tells when it gets no
// further.
func hasDeadline(kind string) bool { return kind == KindDeployment || kind == KindArgoRollout }

// outcome finds the rollouts of ours that failed. good is whether there are workloads
// and the rollouts of all have succeeded; one that does not exist runs with nothing bad.
func outcome(workloads []vaultv1alpha1.WorkloadStatus) (failures []vaultv1alpha1.WorkloadStatus, good bool) {
	running, all := false, true
	for _, w := range workloads {
		switch {
		case w.State == vaultv1alpha1.WorkloadNotFound:
		case w.State == vaultv1alpha1.WorkloadCurrent && w.RollingSince == nil:
			running = true
		default:
			all = false
		}
		if failed(w) {
			failures = append(failures, w)
		}
	}
	return failures, running && all
}

// failed reports whether the status is that of a rollout of ours that failed.
func failed(status vaultv1alpha1.WorkloadStatus) bool {
	return status.State == vaultv1alpha1.WorkloadFailed && status.RollingSince != nil
}

// underWay reports whether the status is that of a rollout of ours that keeps others
// waiting where one is rolled after the other. What waits for a person does not.
func underWay(status vaultv1alpha1.WorkloadStatus) bool {
	return status.RollingSince != nil && status.State != vaultv1alpha1.WorkloadPaused
}

// Bounds of the time between two looks at the pods of a rollout: often at first, when
// most that fail do, and a sixth of its age later on.
const (
	minLook = 5 * time.Second
	maxLook = 30 * time.Second
)

// nextLook is after how long the pods of a rollout are to be looked at again; 0 when
// it is no rollout of ours, or over, or an event brings the next look.
func nextLook(status vaultv1alpha1.WorkloadStatus, now time.Time) time.Duration {
	if status.RollingSince == nil {
		return 0
	}
	age := now.Sub(status.RollingSince.Time)
	if !underWay(status) && age > stuckAfter {
		return 0 // until a person, or a partition of a StatefulSet, lets it go on
	}
	return min(max(minLook, age/6), maxLook)
}
