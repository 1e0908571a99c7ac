package vaultsecret

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret/paced"
)

// instruments are the metrics of the operator.
type instruments struct {
	syncs             *prometheus.CounterVec
	rolloutsStarted   prometheus.Counter
	rolloutsCoalesced prometheus.Counter
	rolloutsFailed    prometheus.Counter
	rolledBack        prometheus.Counter
	eventsDropped     prometheus.Counter
	propagation       *propagation
	// acknowledgementsLate is set by the leader.
	acknowledgementsLate prometheus.Gauge
}

// Reasons of coffer_vaultsecret_syncs_total beside those of conditions.
const (
	reasonUnchanged = "Unchanged" // nothing was to do
	// reasonConflict: something changed meanwhile, and the next reconcile is about to begin.
	reasonConflict = "Conflict"
	// reasonStatusWriteFailed: the status could not be written, whatever else was done.
	reasonStatusWriteFailed = "StatusWriteFailed"
)

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
		eventsDropped: paced.Dropped(),
		acknowledgementsLate: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "coffer_acknowledgements_late_seconds",
			Help: "For how long the vault could not be told which versions the VaultSecrets have; 0 in good order.",
		}),
		propagation: newPropagation(),
	}
	var err error
	m.syncs, err = register(registerer, m.syncs, err)
	m.rolloutsStarted, err = register(registerer, m.rolloutsStarted, err)
	m.rolloutsCoalesced, err = register(registerer, m.rolloutsCoalesced, err)
	m.rolloutsFailed, err = register(registerer, m.rolloutsFailed, err)
	m.rolledBack, err = register(registerer, m.rolledBack, err)
	m.eventsDropped, err = register(registerer, m.eventsDropped, err)
	m.acknowledgementsLate, err = register(registerer, m.acknowledgementsLate, err)
	m.propagation.seconds, err = register(registerer, m.propagation.seconds, err)
	return m, err
}

func register[C prometheus.Collector](registerer prometheus.Registerer, c C, before error) (C, error) {
	err := registerer.Register(c)
	if registered, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return registered.ExistingCollector.(C), before
	}
	return c, errors.Join(before, err)
}

// enqueued notes that a change of the vault asks for a reconcile of key.
func (m *instruments) enqueued(key types.NamespacedName, committedAt time.Time) {
	m.propagation.enqueued(key, committedAt)
}

// propagated notes that the Secret of key was written.
func (m *instruments) propagated(key types.NamespacedName, now time.Time) {
	m.propagation.written(key, now)
}

// unfinished counts a reconcile that ended without a status, for a reason of its own.
func (m *instruments) unfinished(reason string) { m.syncs.WithLabelValues(reason).Inc() }

// finished counts a reconcile whose status tells how it ended.
func (m *instruments) finished(s *scope, f *failure) {
	reason := reasonUnchanged
	switch {
	case f != nil:
		reason = f.reason
	case s.written:
		reason = vaultv1alpha1.ReasonSynced
	}
	m.syncs.WithLabelValues(reason).Inc()
	// Only now: a run whose status could not be written sees the same change again.
	m.rolloutsCoalesced.Add(float64(s.rolled.Coalesced))
	m.rolloutsFailed.Add(float64(newlyFailed(s.before.Status.Workloads, s.object.Status.Workloads)))
	if s.rejecting {
		m.rolledBack.Inc()
	}
	if f == nil || !f.retry {
		m.propagation.settled(s.key())
	}
}
