package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/coffer-vault/coffer/internal/vault/notification"
)

// Why a path is overdue, in a metric: by a reminder, which somebody answers by hand, or by a rotation.
const (
	overdueByReminder = "reminder"
	overdueByRotation = "rotation"
)

// overdueMetrics tell how much is overdue. Every replica tells the same, some minutes after a change.
type overdueMetrics struct {
	secretsOverdue, longestOverdue *prometheus.GaugeVec // by kind
}

func newOverdueMetrics(factory promauto.Factory) overdueMetrics {
	return overdueMetrics{
		secretsOverdue: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "coffer", Name: "secrets_overdue",
			Help: "Paths whose current version is older than wanted: by a reminder, or by a rotation that is late by a day.",
		}, []string{"kind"}),
		longestOverdue: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "coffer", Name: "secret_overdue_seconds",
			Help: "How long the path is overdue that is so for longest, by a reminder or by a rotation that is late by a day; 0 when there is none.",
		}, []string{"kind"}),
	}
}

// CountOverdue counts what TellOverdue tells of, for the metrics. It reads the head rows and versions of all paths that have a reminder or
// a rotation, and no value.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) CountOverdue(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	overdue, err := e.overdue(ctx)
	if err != nil {
		return fmt.Errorf("count what is overdue: %w", err)
	}
	e.metrics.standOverdue(overdue, e.now())
	return nil
}

func (m *overdueMetrics) standOverdue(overdue map[string]notification.Overdue, now time.Time) {
	count, longest := map[string]int{}, map[string]time.Duration{}
	for _, o := range overdue {
		kind := overdueByReminder
		if o.Rotation != "" {
			kind = overdueByRotation
		}
		count[kind]++
		longest[kind] = max(longest[kind], now.Sub(o.DueAt))
	}
	for _, kind := range []string{overdueByReminder, overdueByRotation} {
		m.secretsOverdue.WithLabelValues(kind).Set(float64(count[kind]))
		m.longestOverdue.WithLabelValues(kind).Set(longest[kind].Seconds())
	}
}
