package rollout

import (
	"time"

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
// deadline.
func judge(w Workload, pods sighting, since time.Time) vaultv1alpha1.WorkloadStatus {
	status := vaultv1alpha1.WorkloadStatus{Kind: w.Kind, Name: w.Object.GetName(), RollingSince: microTime(since)}
	status.State, status.Message = w.State()
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
