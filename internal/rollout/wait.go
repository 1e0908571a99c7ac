package rollout

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// maxWaits bounds the wait for further changes, in debounces since the first: a
// Secret that changes all the time must not keep its workload from ever rolling.
const maxWaits = 5

// Wait is that of one Secret before a workload is rolled for it.
type Wait struct {
	// NotBefore is a debounce after its last change.
	NotBefore time.Time
	// Latest is when the workload rolls whatever else changes.
	Latest time.Time
}

// WaitOf reads the wait that the status of a Pending workload tells, for the debounce
// of its VaultSecret.
func WaitOf(status vaultv1alpha1.WorkloadStatus, debounce time.Duration) Wait {
	var w Wait
	if status.PendingSince != nil {
		w.Latest = status.PendingSince.Add(maxWaits * debounce)
	}
	if status.NotBefore != nil {
		w.NotBefore = status.NotBefore.Time
	}
	return w
}

// pending is the status of a workload that waits: since the first change of those it
// waits for, and anew after each. What an operator with a clock that is ahead wrote
// makes no wait longer than the debounce.
func pending(status, last vaultv1alpha1.WorkloadStatus, changed bool, debounce time.Duration, now time.Time) vaultv1alpha1.WorkloadStatus {
	status.State = vaultv1alpha1.WorkloadPending
	since, notBefore := now, now.Add(debounce)
	if last.State == vaultv1alpha1.WorkloadPending {
		if last.PendingSince != nil && last.PendingSince.Time.Before(now) {
			since = last.PendingSince.Time
		}
		if !changed && last.NotBefore != nil && last.NotBefore.Time.Before(notBefore) {
			notBefore = last.NotBefore.Time
		}
	}
	status.PendingSince, status.NotBefore = microTime(since), microTime(notBefore)
	return status
}

// due is when a workload rolls for all of these: when the last of them has waited
// enough, but not after the latest moment of any.
func due(own Wait, others []Peer) time.Time {
	at, latest := own.NotBefore, own.Latest
	for _, other := range others {
		if other.Wait == nil {
			continue
		}
		if other.Wait.NotBefore.After(at) {
			at = other.Wait.NotBefore
		}
		if other.Wait.Latest.Before(latest) {
			latest = other.Wait.Latest
		}
	}
	if at.After(latest) {
		return latest
	}
	return at
}

// microTime is t as the API server keeps it.
func microTime(t time.Time) *metav1.MicroTime {
	at := metav1.NewMicroTime(t.Truncate(time.Microsecond))
	return &at
}
