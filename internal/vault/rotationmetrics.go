package vault

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
)

// stateNone is the state, in a metric, of a rotation that had no run.
const stateNone = "none"

// rotationMetrics tell how rotations stand. Every replica tells the same, some seconds after a change, but for runs.
type rotationMetrics struct {
	rotations *prometheus.GaugeVec // by state of the newest run
	waiting   prometheus.Gauge
	attempts  *prometheus.GaugeVec // by state
	overdue   prometheus.Gauge
	runs      *prometheus.CounterVec // by outcome
}

func newRotationMetrics(factory promauto.Factory) rotationMetrics {
	return rotationMetrics{
		rotations: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "coffer", Name: "rotations",
			Help: "Rotations that are defined, by the state of their newest run; none when there was no run.",
		}, []string{"state"}),
		waiting: factory.NewGauge(prometheus.GaugeOpts{
			Namespace: "coffer", Subsystem: "rotation", Name: "runs_waiting",
			Help: "Runs of rotations that wait for somebody to approve or to cancel them.",
		}),
		attempts: factory.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "coffer", Subsystem: "rotation", Name: "failed_attempts",
			Help: "How often the present step failed, of the run under way in a state whose step failed most; 0 in good order.",
		}, []string{"state"}),
		overdue: factory.NewGauge(prometheus.GaugeOpts{
			Namespace: "coffer", Subsystem: "rotation", Name: "overdue_seconds",
			Help: "How long the rotation is due that is due for longest and was not done: no run began, or the run ended without it; 0 when there is none.",
		}),
		runs: factory.NewCounterVec(prometheus.CounterOpts{
			Namespace: "coffer", Subsystem: "rotation", Name: "runs_total",
			Help: "Runs of rotations that this replica ended, by outcome: done, rolledBack or abandoned.",
		}, []string{"outcome"}),
	}
}

// stand tells how rotations stand at now, and of the runs under way of those that are defined no more.
func (m *rotationMetrics) stand(all *rotations, now time.Time) {
	count, attempts := map[string]int{stateNone: 0}, map[rotation.State]int{}
	waiting, overdue := 0, time.Duration(0)
	look := func(run *rotation.Run) {
		if run.NeedsSomebody() {
			waiting++
		}
		if !run.State.Ended() {
			attempts[run.State] = max(attempts[run.State], run.Attempts)
		}
	}
	for i := range all.defined {
		r := &all.defined[i]
		if since, is := r.overdueSince(now); is {
			overdue = max(overdue, now.Sub(since))
		}
		if r.newest == nil {
			count[stateNone]++
			continue
		}
		count[string(r.newest.State)]++
		look(r.newest)
	}
	for i := range all.undefined {
		look(all.undefined[i].newest)
	}
	m.rotations.WithLabelValues(stateNone).Set(float64(count[stateNone]))
	for _, s := range rotation.States() {
		m.rotations.WithLabelValues(string(s)).Set(float64(count[string(s)]))
		if !s.Ended() {
			m.attempts.WithLabelValues(string(s)).Set(float64(attempts[s]))
		}
	}
	m.waiting.Set(float64(waiting))
	m.overdue.Set(overdue.Seconds())
}

// wrote takes note of a run that this replica has written.
func (m *rotationMetrics) wrote(run *rotation.Run) {
	if run.State.Ended() {
		m.runs.WithLabelValues(string(run.State)).Inc()
	}
}

// firstMissed is when the schedule wanted the current version replaced for the first time, at most latest, when a run for that failed:
// each further one that fails is due later.
func (r *standingRotation) firstMissed(latest time.Time) time.Time {
	from := r.version.CreatedAt
	if r.definition.Schedule.Cron != "" && r.since.After(from) {
		from = r.since // a line says nothing of what was before it
	}
	s, err := schedule.Parse(r.definition.Schedule)
	if err != nil {
		return latest
	}
	if first, ok := s.Next(r.cluster+"/"+r.definition.Name, from); ok && first.Before(latest) {
		return first
	}
	return latest
}

// overdueSince is since when the rotation is due by time and was not done; false when it is not so. One that is under way is not overdue:
// how far it is is told otherwise.
func (r *standingRotation) overdueSince(now time.Time) (time.Time, bool) {
	if r.definition.Suspended || r.version == nil {
		return time.Time{}, false
	}
	if last := r.newest; last != nil && last.Cause == rotation.BySchedule && last.State.Ended() && last.State != rotation.Done &&
		!r.version.CreatedAt.After(last.PlannedAt) { // nobody has written a newer one
		due := r.firstMissed(last.DueAt)
		return due, !due.After(now)
	}
	due, ok := r.due(now)
	return due, ok && !due.After(now)
}
