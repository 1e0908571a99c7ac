package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// PlanRotations makes a run of every rotation that is due, by its schedule or because its credential ends by itself, which ends knows.
// Replicas that do so at the same time make one. It returns when it is to be called again at the latest for what is known now; zero
// when nothing will be due.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) PlanRotations(ctx context.Context, ends Ends) (next time.Time, err error) {
	limited, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	all, err := e.allRotations(limited)
	if err != nil {
		return time.Time{}, err
	}
	e.learnEnds(ctx, all.defined, ends)
	now := e.now()
	e.metrics.stand(all, now)
	for i := range all.defined {
		r := &all.defined[i]
		due, ok := r.due(now)
		switch {
		case !ok:
			continue
		case due.After(now):
			next = secret.Earlier(next, due)
			continue
		}
		run := rotation.Run{Cause: rotation.BySchedule, DueAt: due}
		if _, err := e.planRun(ctx, itself, &r.definedRotation, run); err != nil {
			return time.Time{}, err
		}
	}
	return next, nil
}

// due is when the rotation is due by time: by its schedule, or earlier when its credential ends before; false when never. A path that is
// not there is not rotated, and one that is being rotated, or of which that is not known, is not due.
func (r *standingRotation) due(now time.Time) (time.Time, bool) {
	if r.definition.Suspended || r.version == nil || r.unread || r.underWay() || r.busy() {
		return time.Time{}, false
	}
	at, ok := r.scheduled(now)
	if renew, ends := r.renewal(now); ends && (!ok || renew.Before(at)) {
		return renew, true
	}
	return at, ok
}

// scheduled is when the rotation is due by its schedule; false when never. What another cluster's rotation of the path did, or tried, at a time is
// done for that time.
func (r *standingRotation) scheduled(now time.Time) (time.Time, bool) {
	s, err := schedule.Parse(r.definition.Schedule)
	if err != nil {
		return time.Time{}, false
	}
	times := []time.Time{r.version.CreatedAt}
	if r.definition.Schedule.Cron != "" {
		times[0] = r.since // what is written by hand in between does not move a line's times
	}
	if r.newest != nil {
		times = append(times, r.newest.PlannedAt, r.newest.DueAt)
	}
	for _, run := range r.ofPath {
		times = append(times, run.PlannedAt, run.DueAt)
	}
	last, ok := schedule.Last(now, times...)
	if !ok {
		return time.Time{}, false
	}
	return s.Next(r.cluster+"/"+r.definition.Name, last)
}

var errRotationBusy = fmt.Errorf("%w: the path is being rotated", secret.ErrConflict)

// planRun makes a run of d. It is nil when the path has one that has not ended, or had one for the same time.
func (e *Engine) planRun(ctx context.Context, by rotationActor, d *definedRotation, run rotation.Run) (*rotation.Run, error) {
	run.ID, run.Cluster, run.Definition = uuid.NewString(), d.cluster, d.definition
	run.PlannedAt, run.EnteredAt = e.now(), e.now()
	run.State, run.Steps = rotation.Planned, 1
	row, err := e.sealRun(&run, nil)
	if err != nil {
		return nil, err
	}
	var inserted bool
	err = e.transact(ctx, by.action, func(tx *store.Tx, record func(audit.Entry)) error {
		var err error
		inserted, err = tx.InsertRotationRun(ctx, row, e.sealStep(row.ID, &run, run.Detail(), run.EnteredAt))
		if err != nil || !inserted {
			return err
		}
		record(by.entry(&run, fmt.Sprintf("%s: planned, %s", d.definition.Name, run.Detail())))
		return e.tell(tx, notification.OfRun(nil, &run, "", run.EnteredAt)...)
	})
	if err != nil || !inserted {
		return nil, err
	}
	return &run, nil
}
