package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
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
	standing, undefined, err := e.allRotations(limited)
	if err != nil {
		return time.Time{}, err
	}
	e.learnEnds(ctx, standing, ends)
	now := e.now()
	e.metrics.stand(standing, undefined, now)
	for i := range standing {
		r := &standing[i]
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

// standingRotation is a rotation and how it stands.
type standingRotation struct {
	definedRotation
	// newest is its newest run; nil when there is none. Unread says that there is one that is not believed.
	newest *rotation.Run
	unread bool
	// secret is the head row of the path, which may not verify, and version its current version; nil when there is none, or none
	// that can be used.
	secret  *store.Secret
	version *store.Version
	// renewAt is when the current credential is to be renewed before its end; zero when it has none, or that is not known.
	renewAt time.Time
}

// standingRotations are all rotations that are defined, by cluster and name.
func (e *Engine) standingRotations(ctx context.Context) ([]standingRotation, error) {
	standing, _, err := e.allRotations(ctx)
	return standing, err
}

// allRotations are all rotations that are defined, by cluster and name, and the runs under way of those that are defined no more.
func (e *Engine) allRotations(ctx context.Context) (_ []standingRotation, undefined []rotation.Run, err error) {
	defined, err := e.definedRotations(ctx)
	if err != nil {
		return nil, nil, err
	}
	runs, unread, err := e.newestRuns(ctx)
	if err != nil {
		return nil, nil, err
	}
	wanted := make([]store.Wanted, len(defined))
	for i, d := range defined {
		wanted[i] = store.Wanted{Cluster: d.cluster, Path: d.definition.Path}
	}
	heads, err := e.store.Heads(ctx, wanted...)
	if err != nil {
		return nil, nil, err
	}
	standing := make([]standingRotation, len(defined))
	for i, d := range defined {
		key := rotationName{d.cluster, d.definition.Name}
		standing[i] = standingRotation{
			definedRotation: d, newest: runs[key], unread: unread[key], secret: heads[i].Secret, version: e.currentOf(heads[i]),
		}
		if known, ok := e.renewalOf(&standing[i]); ok {
			standing[i].renewAt = known.at
		}
		delete(runs, key)
	}
	for _, run := range runs {
		if !run.State.Ended() {
			undefined = append(undefined, *run)
		}
	}
	return standing, undefined, nil
}

// newestRuns are the newest run of each rotation that had one, and the rotations whose run cannot be read.
func (e *Engine) newestRuns(ctx context.Context) (runs map[rotationName]*rotation.Run, unread map[rotationName]bool, err error) {
	rows, err := e.store.NewestRotationRuns(ctx, e.now())
	if err != nil {
		return nil, nil, err
	}
	runs, unread = map[rotationName]*rotation.Run{}, map[rotationName]bool{}
	for i := range rows {
		key := rotationName{rows[i].Cluster, rows[i].Name}
		run, err := e.openRun(&rows[i])
		if err != nil {
			e.logger.ErrorContext(ctx, "a rotation's run cannot be read", "rotation", rows[i].Name, "error", err)
			unread[key] = true
			continue
		}
		runs[key] = &run
	}
	return runs, unread, nil
}

// currentOf is the current version of a head; nil when there is none that can be used.
func (e *Engine) currentOf(head store.Head) *store.Version {
	if !isLive(head.Secret) || !e.verifySecret(head.Secret) || e.usable(head.Secret, head.Secret.CurrentVersion, head.Version) != nil {
		return nil
	}
	return head.Version
}

// due is when the rotation is due by time: by its schedule, or earlier when its credential ends before; false when never. A path that is
// not there is not rotated, and one that is being rotated, or of which that is not known, is not due.
func (r *standingRotation) due(now time.Time) (time.Time, bool) {
	if r.definition.Suspended || r.version == nil || r.unread || r.newest != nil && !r.newest.State.Ended() {
		return time.Time{}, false
	}
	at, ok := r.scheduled(now)
	if renew, ends := r.renewal(now); ends && (!ok || renew.Before(at)) {
		return renew, true
	}
	return at, ok
}

// scheduled is when the rotation is due by its schedule; false when never.
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
		if err == nil && inserted {
			record(by.entry(&run, fmt.Sprintf("%s: planned, %s", d.definition.Name, run.Detail())))
		}
		return err
	})
	if err != nil || !inserted {
		return nil, err
	}
	return &run, nil
}

// definitionOf is the rotation of a path that counts for a caller: that of its own cluster, or else the only one.
func definitionOf(caller secret.Caller, path secret.Path, defined []definedRotation) (*definedRotation, error) {
	var found *definedRotation
	for i := range defined {
		d := &defined[i]
		if d.definition.Path != path.String() {
			continue
		}
		if d.cluster == caller.Cluster {
			return d, nil
		}
		if found != nil {
			return nil, fmt.Errorf("%w: %s is rotated by several clusters; ask in one of them", secret.ErrInvalid, path)
		}
		found = d
	}
	if found == nil {
		return nil, errNoRotation
	}
	return found, nil
}

// errNoRotation answers who may ask about the path.
var errNoRotation = fmt.Errorf("%w: no rotation is defined for the path; coffer rotate writes a new value by hand", secret.ErrInvalid)
