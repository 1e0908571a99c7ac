package vaultsecret

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// Reasons of the census beside those of conditions.
const (
	// reasonWaiting: the operator has not come to it yet, after its creation, a change of
	// its spec, or a change of the vault.
	reasonWaiting = "Waiting"
	// reasonOther stands for what no version of this program writes, so that nobody who
	// may write a status makes metrics grow.
	reasonOther = "Other"
)

// stateReasons are those that the conditions Ready and Synced of a VaultSecret can have.
var stateReasons = func() map[string]bool {
	known := map[string]bool{}
	for _, reason := range []string{
		vaultv1alpha1.ReasonSynced, vaultv1alpha1.ReasonSuspended, vaultv1alpha1.ReasonDenied,
		vaultv1alpha1.ReasonVersionNotFound, vaultv1alpha1.ReasonVersionDeleted, vaultv1alpha1.ReasonVersionDestroyed,
		vaultv1alpha1.ReasonServiceAccountNotFound, vaultv1alpha1.ReasonPropertyNotFound, vaultv1alpha1.ReasonTemplateFailed,
		vaultv1alpha1.ReasonInvalidSpec, vaultv1alpha1.ReasonKeyConflict, vaultv1alpha1.ReasonInvalidContent,
		vaultv1alpha1.ReasonTargetTaken, vaultv1alpha1.ReasonSecretNotOwned, vaultv1alpha1.ReasonSecretWriteFailed,
		vaultv1alpha1.ReasonVaultUnavailable, vaultv1alpha1.ReasonIntegrityFailed,
		vaultv1alpha1.ReasonPending, vaultv1alpha1.ReasonRollingOut, vaultv1alpha1.ReasonRolloutFailed, vaultv1alpha1.ReasonRolledBack, vaultv1alpha1.ReasonRolloutPaused,
	} {
		known[reason] = true
	}
	return known
}()

// census counts the VaultSecrets by state, and knows those whose Secret is not what it
// should be. The events of the cache keep it right, so that a scrape looks at no object
// that is in order. It has no series for a single VaultSecret: there may be 10,000.
type census struct {
	clock clock.PassiveClock
	// elected is closed when this replica leads. Others tell nothing, lest sums over
	// replicas count twice.
	elected <-chan struct{}
	// changes are those on their way from the vault.
	changes *propagation

	objects, unsynced *prometheus.GaugeVec
	due               prometheus.Gauge

	mu      sync.Mutex
	reasons map[string]int // of Ready
	overdue int            // those whose RotationDue is true
	lags    map[types.NamespacedName]lag
}

// lag says why a Secret is not what it should be, and since when.
type lag struct {
	reason string
	since  time.Time
}

func newCensus(clock clock.PassiveClock, elected <-chan struct{}, changes *propagation) *census {
	return &census{
		clock: clock, elected: elected, changes: changes,
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "coffer_vaultsecrets",
			Help: "VaultSecrets by the reason of their condition Ready, Waiting when there is none yet.",
		}, []string{"reason"}),
		unsynced: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "coffer_vaultsecret_unsynced_seconds",
			Help: "How long the VaultSecret that waits longest has a Secret that is not what it should be, by the reason; none where no VaultSecret waits.",
		}, []string{"reason"}),
		due: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "coffer_vaultsecrets_rotation_due",
			Help: "VaultSecrets of a path that is to be rotated by its reminder: their condition RotationDue is true.",
		}),
		reasons: map[string]int{}, lags: map[types.NamespacedName]lag{},
	}
}

// addCensus has the cache of mgr feed a census, and registers it in the place of that of
// an earlier manager of the process.
func addCensus(mgr ctrl.Manager, registerer prometheus.Registerer, changes *propagation) error {
	c := newCensus(clock.RealClock{}, mgr.Elected(), changes)
	informer, err := mgr.GetCache().GetInformer(context.Background(), &vaultv1alpha1.VaultSecret{})
	if err != nil {
		return fmt.Errorf("find the cache of VaultSecrets: %w", err)
	}
	if _, err := informer.AddEventHandler(c); err != nil {
		return fmt.Errorf("count VaultSecrets: %w", err)
	}
	registerer.Unregister(c)
	if err := registerer.Register(c); err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	return nil
}

// OnAdd implements cache.ResourceEventHandler.
func (c *census) OnAdd(obj any, _ bool) { c.change(nil, vaultSecretOf(obj)) }

// OnUpdate implements cache.ResourceEventHandler.
func (c *census) OnUpdate(before, now any) { c.change(vaultSecretOf(before), vaultSecretOf(now)) }

// OnDelete implements cache.ResourceEventHandler.
func (c *census) OnDelete(obj any) {
	if last, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = last.Obj
	}
	c.change(vaultSecretOf(obj), nil)
}

// vaultSecretOf is nil for anything else.
func vaultSecretOf(obj any) *vaultv1alpha1.VaultSecret {
	object, _ := obj.(*vaultv1alpha1.VaultSecret)
	return object
}

// change takes a VaultSecret as it was out of the census, and as it is in; nil is none.
func (c *census) change(before, now *vaultv1alpha1.VaultSecret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before != nil {
		reason := readyReason(before)
		if c.reasons[reason]--; c.reasons[reason] <= 0 {
			delete(c.reasons, reason)
		}
		if rotationIsDue(before) {
			c.overdue--
		}
	}
	if now == nil {
		if before != nil {
			delete(c.lags, types.NamespacedName{Namespace: before.Namespace, Name: before.Name})
		}
		return
	}
	c.reasons[readyReason(now)]++
	if rotationIsDue(now) {
		c.overdue++
	}
	key := types.NamespacedName{Namespace: now.Namespace, Name: now.Name}
	if l, behind := lagOf(now, c.lags[key], c.clock.Now()); behind {
		c.lags[key] = l
	} else {
		delete(c.lags, key)
	}
}

// lagOf says why the Secret of object is not what it should be; behind is false when it
// is. last is what was said before, zero when it was in order. Nobody waits for one that
// is suspended or about to go.
func lagOf(object *vaultv1alpha1.VaultSecret, last lag, now time.Time) (l lag, behind bool) {
	if object.Spec.Suspend || !object.DeletionTimestamp.IsZero() {
		return lag{}, false
	}
	synced := meta.FindStatusCondition(object.Status.Conditions, vaultv1alpha1.ConditionSynced)
	switch {
	case synced == nil:
		return lag{reasonWaiting, object.CreationTimestamp.Time}, true
	case object.Status.ObservedGeneration != object.Generation:
		// The object does not tell when its spec was changed.
		since := last.since
		if since.IsZero() {
			since = now
		}
		return lag{reasonWaiting, since}, true
	case synced.Status != metav1.ConditionTrue:
		return lag{knownReason(synced.Reason), synced.LastTransitionTime.Time}, true
	default:
		return lag{}, false
	}
}

func readyReason(object *vaultv1alpha1.VaultSecret) string {
	ready := meta.FindStatusCondition(object.Status.Conditions, vaultv1alpha1.ConditionReady)
	if ready == nil {
		return reasonWaiting
	}
	return knownReason(ready.Reason)
}

func rotationIsDue(object *vaultv1alpha1.VaultSecret) bool {
	return meta.IsStatusConditionTrue(object.Status.Conditions, vaultv1alpha1.ConditionRotationDue)
}

func knownReason(reason string) string {
	if stateReasons[reason] {
		return reason
	}
	return reasonOther
}

// Describe implements prometheus.Collector.
func (c *census) Describe(out chan<- *prometheus.Desc) {
	c.objects.Describe(out)
	c.unsynced.Describe(out)
	c.due.Describe(out)
}

// Collect implements prometheus.Collector.
func (c *census) Collect(out chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects.Reset()
	for reason, n := range c.reasons {
		c.objects.WithLabelValues(reason).Set(float64(n))
	}
	c.unsynced.Reset()
	for reason, since := range c.longest() {
		c.unsynced.WithLabelValues(reason).Set(max(0, c.clock.Since(since).Seconds()))
	}
	c.due.Set(float64(c.overdue))
	c.objects.Collect(out)
	c.unsynced.Collect(out)
	c.due.Collect(out)
}

// longest is since when the VaultSecret waits that waits longest, by reason.
func (c *census) longest() map[string]time.Time {
	longest := map[string]time.Time{}
	for _, l := range c.lags {
		longest[l.reason] = earliest(longest[l.reason], l.since)
	}
	if oldest := c.changes.oldest(); !oldest.IsZero() {
		longest[reasonWaiting] = earliest(longest[reasonWaiting], oldest)
	}
	return longest
}
