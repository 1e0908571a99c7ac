package notify

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// What becomes of deliveries.
const (
	resultDelivered = "delivered"
	resultFailed    = "failed" // and tried again
	resultRefused   = "refused"
	resultExpired   = "expired"
	resultDropped   = "dropped"
	resultTampered  = "tampered"
)

type metrics struct {
	deliveries *prometheus.CounterVec // by sink and result
	oldest     prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	factory := promauto.With(registerer)
	return &metrics{
		deliveries: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "coffer", Name: "notifications_total",
			Help: "Attempts to deliver notifications, by sink and result: delivered, failed (tried again), refused or expired (given up), dropped (its sink is not named any more), tampered.",
		}, []string{"sink", "result"}),
		oldest: factory.NewGauge(prometheus.GaugeOpts{
			Namespace: "coffer", Name: "notifications_oldest_seconds",
			Help: "Age of the oldest event that is not delivered to all sinks yet; 0 when none waits.",
		}),
	}
}

func (m *metrics) count(sink, result string) { m.deliveries.WithLabelValues(sink, result).Inc() }
