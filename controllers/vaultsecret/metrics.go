package vaultsecret

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// instruments are the metrics of the operator, and the times of changes that are
// on their way to a Secret.
type instruments struct {
	syncs             *prometheus.CounterVec
	rolloutsStarted   prometheus.Counter
	rolloutsCoalesced prometheus.Counter
	rolloutsFailed    prometheus.Counter
	rolledBack        prometheus.Counter
	propagation       prometheus.Histogram

	mu        sync.Mutex
	committed map[types.NamespacedName]time.Time
}

// newInstruments registers the metrics; those that are registered already are
// taken over, so that two managers can live in one test process.
func newInstruments(registerer prometheus.Registerer) (*instruments, error) {
	m := &instruments{
		syncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coffer_vaultsecret_syncs_total",
			Help: "Reconciles of VaultSecrets by the reason they ended with, Unchanged when nothing was to do.",
		}, []string{"reason"}),
		rolloutsStarted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "coffer_rollouts_started_total",
			Help: "Workloads stamped because the content of a Secret they follow changed.",
		}),
		rolloutsCoalesced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "coffer_rollouts_coalesced_total",
			Help: "Changes of a Secret that a workload got with another change, in one rollout.",
		}),
		rolloutsFailed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "coffer_rollouts_failed_total",
			Help: "Rollouts of workloads that missed their deadline or whose new pods crash.",
		}),
		rolledBack: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "coffer_rollouts_rolled_back_total",
			Help: "Secrets taken back to the last good versions since a rollout of newer ones failed.",
		}),
		propagation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "coffer_propagation_seconds",
			Help:    "Time from the commit of a change in the vault to the written Secret.",
			Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}),
		committed: map[types.NamespacedName]time.Time{},
	}
	var err error
	m.syncs, err = register(registerer, m.syncs, err)
	m.rolloutsStarted, err = register(registerer, m.rolloutsStarted, err)
	m.rolloutsCoalesced, err = register(registerer, m.rolloutsCoalesced, err)
	m.rolloutsFailed, err = register(registerer, m.rolloutsFailed, err)
	m.rolledBack, err = register(registerer, m.rolledBack, err)
	m.propagation, err = register(registerer, m.propagation, err)
	return m, err
}

func register[C prometheus.Collector](registerer prometheus.Registerer, c C, before error) (C, error) {
	err := registerer.Register(c)
	if registered, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return registered.ExistingCollector.(C), before
	}
	return c, errors.Join(before, err)
}

// enqueued notes that a change of the vault asks for a reconcile of key. The
// earliest of several counts.
func (m *instruments) enqueued(key types.NamespacedName, committedAt time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if earlier, ok := m.committed[key]; !ok || committedAt.Before(earlier) {
		m.committed[key] = committedAt
	}
}

// take returns the time of the change that key was enqueued for, if any, and
// forgets it.
func (m *instruments) take(key types.NamespacedName) (time.Time, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	committedAt, ok := m.committed[key]
	delete(m.committed, key)
	return committedAt, ok
}

// propagated observes how long the change took that key was enqueued for.
func (m *instruments) propagated(key types.NamespacedName, now time.Time) {
	if committedAt, ok := m.take(key); ok {
		m.propagation.Observe(max(0, now.Sub(committedAt).Seconds()))
	}
}

func (m *instruments) finished(s *scope, f *failure) {
	reason := "Unchanged"
	switch {
	case f != nil:
		reason = f.reason
	case s.written:
		reason = "Synced"
	}
	m.syncs.WithLabelValues(reason).Inc()
	// Only now: a run whose status could not be written sees the same change again.
	m.rolloutsCoalesced.Add(float64(s.rolled.Coalesced))
	m.rolloutsFailed.Add(float64(newlyFailed(s.before.Status.Workloads, s.object.Status.Workloads)))
	if s.rejecting {
		m.rolledBack.Inc()
	}
	if f == nil || !f.retry {
		m.take(s.key())
	}
}
