package vault

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/cache"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// metrics never carry a path: a label for each would grow without bound, and paths
// are names that a scraper need not know.
type metrics struct {
	operations    *prometheus.HistogramVec // by operation and result
	cache         *prometheus.CounterVec   // by layer, and result: hit, miss, bad
	announcements *prometheus.CounterVec   // by result: ok, failed
	revision      prometheus.Gauge         // of the keyset in use
	reloads       *prometheus.CounterVec   // by result, as of operations
	rewrapped     prometheus.Counter
	flushEntries  prometheus.Histogram
	flushSeconds  prometheus.Histogram
	flushWaiting  prometheus.Gauge
	verifiedAt    prometheus.Gauge
	findings      prometheus.Gauge
	databaseOlder prometheus.Gauge
	monthsMissing prometheus.Gauge
	// unverifiedParts are those that were not dropped.
	unverifiedParts prometheus.Gauge
	erasable        prometheus.Gauge
	delivery        prometheus.Histogram
	lag             lag
	tailRows        *prometheus.CounterVec // by result: printed, lost, unknown
	tailWaiting     prometheus.Gauge
	rotationMetrics
	overdueMetrics
}

// newMetrics makes the metrics, and registers them where there is a registerer; statements is read when they are.
func newMetrics(registerer prometheus.Registerer, statements func() uint64) *metrics {
	factory := promauto.With(registerer)
	m := &metrics{
		operations: factory.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "coffer", Subsystem: "engine", Name: "operation_seconds",
			Help:    "Time of the engine's operations, by operation and result.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"operation", "result"}),
		cache: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "coffer", Subsystem: "engine", Name: "cache_reads_total",
			Help: "Questions to the cache by layer (memory, redis) and how it answered: hit, miss, or bad when what it held did not open.",
		}, []string{"layer", "result"}),
		announcements: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "coffer", Subsystem: "engine", Name: "announcements_total",
			Help: "Changes announced on Redis, by result: ok or failed.",
		}, []string{"result"}),
		revision: factory.NewGauge(prometheus.GaugeOpts{
			Namespace: "coffer", Subsystem: "keyring", Name: "revision",
			Help: "Revision of the keyset in use; the same on every replica, some seconds after a change.",
		}),
		reloads: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "coffer", Subsystem: "keyring", Name: "reloads_total",
			Help: "Changed keysets that were taken up (ok), or could not be, by result.",
		}, []string{"result"}),
		rewrapped: factory.NewCounter(prometheus.CounterOpts{
			Namespace: "coffer", Subsystem: "keyring", Name: "rewrapped_versions_total",
			Help: "Versions whose data key was wrapped anew under the primary key.",
		}),
		delivery: factory.NewHistogram(prometheus.HistogramOpts{
			Namespace: "coffer", Subsystem: "changes", Name: "delivery_seconds",
			Help:    "Time from the writing of a change, just before its commit, to the return of the handler that took it.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}),
	}
	m.auditLog(factory)
	m.auditStorage(factory)
	m.rotationMetrics = newRotationMetrics(factory)
	m.overdueMetrics = newOverdueMetrics(factory)
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "changes", Name: "lag_seconds",
		Help: "How far the follower may be behind: time since it last had every change; 0 where nothing follows.",
	}, func() float64 { return m.lag.worst().Seconds() })
	factory.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "coffer", Subsystem: "engine", Name: "database_statements_total",
		Help: "Statements sent to Postgres.",
	}, func() float64 { return float64(statements()) })
	return m
}

// auditLog makes the metrics of what is written to the audit log, verified in it and printed of it.
func (m *metrics) auditLog(factory promauto.Factory) {
	m.flushEntries = factory.NewHistogram(prometheus.HistogramOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "flush_entries",
		Help:    "Audit entries written by one flush.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 10), // to audit.MaxBatch
	})
	m.flushSeconds = factory.NewHistogram(prometheus.HistogramOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "flush_seconds",
		Help:    "Time of one flush of audit entries.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	})
	m.flushWaiting = factory.NewGauge(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "queue_entries",
		Help: "Audit entries that waited behind the last flush.",
	})
	m.verifiedAt = factory.NewGauge(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "verified_timestamp_seconds",
		Help: "When this replica last verified the whole audit log; 0 when never.",
	})
	m.findings = factory.NewGauge(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "findings",
		Help: "What the last verification of the audit log found wrong.",
	})
	m.databaseOlder = factory.NewGauge(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "database_older",
		Help: "1 when the database lacks audit rows that the exported heads know.",
	})
	m.tailRows = factory.NewCounterVec(prometheus.CounterOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "tail_rows_total",
		Help: "Audit rows of this process by what became of them on standard output: printed, lost, or unknown when it is not known that they were written.",
	}, []string{"result"})
	m.tailWaiting = factory.NewGauge(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "tail_waiting_rows",
		Help: "Durable audit rows of this process that wait to be printed on standard output.",
	})
}

// auditStorage makes the metrics of how the audit log is kept.
func (m *metrics) auditStorage(factory promauto.Factory) {
	m.monthsMissing = factory.NewGauge(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "months_missing",
		Help: "Of this month and the two that follow, those without a partition of the audit log; 0 in good order.",
	})
	m.unverifiedParts = factory.NewGauge(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "retention_refused",
		Help: "Months of the audit log that are old enough to be dropped, and are kept because they fail their integrity check.",
	})
	m.erasable = factory.NewGauge(prometheus.GaugeOpts{
		Namespace: "coffer", Subsystem: "audit", Name: "role_may_erase",
		Help: "1 when the database role of the process may change or remove rows of the audit log.",
	})
}

func (m *metrics) auditFlush(entries, waiting int, took time.Duration) {
	m.flushEntries.Observe(float64(entries))
	m.flushSeconds.Observe(took.Seconds())
	m.flushWaiting.Set(float64(waiting))
}

func (m *metrics) verified(findings int, at time.Time) {
	m.verifiedAt.Set(float64(at.Unix()))
	m.findings.Set(float64(findings))
}

func (m *metrics) cacheRead(layer string, result cache.Result) {
	m.cache.WithLabelValues(layer, string(result)).Inc()
}

// result is the metric label of an error.
func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, secret.ErrDenied):
		return "denied"
	case errors.Is(err, secret.ErrTampered):
		return "tampered"
	case errors.Is(err, secret.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, secret.ErrConflict), errors.Is(err, secret.ErrKeyState):
		return "conflict"
	case errors.Is(err, secret.ErrPositionLost):
		return "position_lost"
	case errors.Is(err, secret.ErrVersionNotFound):
		return "version_not_found"
	case errors.Is(err, secret.ErrInvalid), errors.Is(err, secret.ErrInvalidPath), errors.Is(err, secret.ErrInvalidValue):
		return "invalid"
	default:
		return "error"
	}
}

// begin bounds an operation in time; the returned function ends it and counts how
// it went.
func (e *Engine) begin(ctx context.Context, action audit.Action) (context.Context, func(error)) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	return ctx, func(err error) {
		cancel()
		e.metrics.operations.WithLabelValues(string(action), result(err)).Observe(time.Since(start).Seconds())
	}
}
