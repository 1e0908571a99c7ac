package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// RotationProgress is what is to be written of a claimed run after its next action.
type RotationProgress struct {
	Outcome rotation.Outcome
	// Value is what Create made; it stays the caller's to clear.
	Value secret.Value
	Pace  rotation.Pace
	// Lease is how long the run is held on when it goes on at once.
	Lease time.Duration
}

// AdvanceRotation writes how the next action of a claimed run went. What that means for the path is written in the same
// transaction: the pending version after Create, which one is current after Promote and Demote, that the former one is deleted when the run
// begins to retire it, and after Revoke that the new one is destroyed. So a process that is killed leaves a run and a path that are in step. The path is changed in the name of the
// rotation's service account, which needs the rotate capability.
//
// When the run is to go on at once, it is still claimed, and c says how it is now. Else it is given back, and held is false.
//
// Errors: ErrRotationLost, rotation.ErrOvertaken, and those of Rotate. With any but ErrRotationLost the run is as it was.
func (e *Engine) AdvanceRotation(ctx context.Context, c *RotationClaim, p RotationProgress) (held bool, err error) {
	a := &advance{engine: e, claim: c, progress: p, now: e.now()}
	switch action := c.Run.Next(); {
	case p.Outcome.Err != nil:
		err = a.alone(ctx)
	case action == rotation.Create:
		err = a.create(ctx)
	case action == rotation.Promote:
		err = a.turn(ctx, audit.Promote, changes.Promote, c.Run.From, c.Run.To)
	case action == rotation.Demote && c.Run.TurnedAt != nil:
		err = a.turn(ctx, audit.Rollback, changes.Rollback, c.Run.To, c.Run.From)
	case action == rotation.Finish:
		err = a.forgetFormer(ctx)
	case action == rotation.Revoke:
		err = a.destroyNext(ctx)
	default:
		err = a.observe(ctx, action)
	}
	if err != nil {
		return false, err
	}
	if a.run.State != c.Run.State {
		e.metrics.wrote(&a.run)
	}
	c.Run, c.row = a.run, a.row
	return a.held, nil
}

// advance is one AdvanceRotation under way.
type advance struct {
	engine   *Engine
	claim    *RotationClaim
	progress RotationProgress
	now      time.Time
	// note is what the step's audit row says besides; empty for nothing.
	note string

	// What was written.
	run  rotation.Run
	row  *store.RotationRun
	held bool
}

// write writes the run with what else its transaction holds.
func (a *advance) write(ctx context.Context, tx *store.Tx, record func(audit.Entry)) error {
	e, before := a.engine, &a.claim.Run
	run, wait := before.After(a.progress.Outcome, a.now, a.progress.Pace)
	stepped := run.State != before.State
	if stepped {
		run.Steps++
	}
	row, err := e.sealRun(&run, a.claim.row)
	if err != nil {
		return err
	}
	a.held = wait == 0 && !run.State.Ended()
	lease := a.progress.Lease
	if !a.held {
		lease = 0
	}
	written, err := tx.UpdateRotationRun(ctx, row, lease, wait)
	if err != nil {
		return err
	}
	if !written {
		return ErrRotationLost
	}
	a.run, a.row = run, row
	if stepped {
		tx.InsertRotationStep(e.sealStep(row.ID, &run, run.Detail(), a.now))
		record(itself.entry(&run, fmt.Sprintf("%s: %s to %s%s", run.Definition.Name, before.State, run.State, a.note)))
	}
	return e.tell(tx, notification.OfRun(before, &run, "", a.now)...)
}

// rotationActor is who does something with a run.
type rotationActor struct {
	caller secret.Caller
	action audit.Action
	// rule is what allowed it; empty for Coffer itself.
	rule string
}

// itself brings runs on.
var itself = rotationActor{caller: rotator, action: audit.RotationStep}

// entry is an audit row about a run.
func (a rotationActor) entry(run *rotation.Run, what string) audit.Entry {
	decision := audit.Allowed
	if run.State == rotation.Failed || run.State == rotation.Abandoned {
		decision = audit.Failed
		what += ": " + run.Reason
	}
	if a.rule != "" {
		what = a.rule + "; " + what
	}
	entry := newEntry(a.caller, a.action, run.Definition.Path, run.To, decision, what)
	if a.caller.Kind == secret.KindSystem {
		entry.Cluster, entry.RequestID = run.Cluster, run.ID
	}
	return entry
}

// alone writes a run that changes nothing about its path. One that is as it was is only given back.
func (a *advance) alone(ctx context.Context) error {
	run, wait := a.claim.Run.After(a.progress.Outcome, a.now, a.progress.Pace)
	if same, err := a.unchanged(&run); err != nil || same {
		if err == nil {
			a.run, a.row = a.claim.Run, a.claim.row
			err = a.engine.ReleaseRotation(ctx, a.claim, wait)
		}
		return err
	}
	return a.engine.transact(ctx, audit.RotationStep, func(tx *store.Tx, record func(audit.Entry)) error { return a.write(ctx, tx, record) })
}

// observe writes how an action went that changed neither the path nor a system. A count may be what the run retires the former version upon.
func (a *advance) observe(ctx context.Context, action rotation.Action) error {
	if err := a.look(ctx, action); err != nil {
		return err
	}
	if run, _ := a.claim.Run.After(a.progress.Outcome, a.now, a.progress.Pace); run.State == rotation.Retiring {
		return a.retire(ctx)
	}
	return a.alone(ctx)
}

func (a *advance) unchanged(run *rotation.Run) (bool, error) {
	row, err := a.engine.sealRun(run, a.claim.row)
	if err != nil {
		return false, err
	}
	return bytes.Equal(row.Record, a.claim.row.Record), nil
}

// look compares the path's current version with the run's, where consumers are counted.
func (a *advance) look(ctx context.Context, action rotation.Action) error {
	if action != rotation.Count && action != rotation.CountBack {
		return nil
	}
	current, err := a.engine.currentVersion(ctx, a.claim)
	run := &a.claim.Run
	switch {
	case err != nil:
		return err
	case action == rotation.Count && current == run.From:
		a.progress.Outcome.Reverted = true
	case action == rotation.Count && current != run.To, action == rotation.CountBack && current != run.From:
		return fmt.Errorf("%w: it is %d", rotation.ErrOvertaken, current)
	}
	return nil
}

// currentVersion is the number of the current version of the run's path.
func (e *Engine) currentVersion(ctx context.Context, c *RotationClaim) (int64, error) {
	path, err := secret.ParsePath(c.Run.Definition.Path)
	if err != nil {
		return 0, err
	}
	head, err := e.head(ctx, c.Caller(), secret.Ref{Path: path})
	switch {
	case err != nil:
		return 0, err
	case !isLive(head.Secret):
		return 0, fmt.Errorf("%s: %w", path, secret.ErrDenied)
	case !e.verifySecret(head.Secret):
		return 0, fmt.Errorf("%s: %w", path, secret.ErrTampered)
	}
	return head.Secret.CurrentVersion, nil
}

// create writes the pending version.
func (a *advance) create(ctx context.Context) error {
	path, err := secret.ParsePath(a.claim.Run.Definition.Path)
	if err != nil {
		return err
	}
	from := a.progress.Outcome.From
	put := secret.PutRequest{Path: path, Value: a.progress.Value, Pending: true, ExpectedVersion: &from}
	kind := writeKind{action: audit.Rotate, change: changes.Rotate, capability: policy.Rotate, mustExist: true}
	kind.with = func(ctx context.Context, tx *store.Tx, version int64, record func(audit.Entry)) error {
		a.progress.Outcome.To = version
		return a.write(ctx, tx, record)
	}
	_, err = a.engine.write(ctx, a.claim.Caller(), put, kind)
	return err
}

// turn makes the version to current in place of from. When it is already, only the run is written.
func (a *advance) turn(ctx context.Context, action audit.Action, kind changes.Kind, from, to int64) error {
	return a.amend(ctx, action, kind, func(ctx context.Context, m *amendment) error {
		if m.row.CurrentVersion == to {
			return nil
		}
		if m.row.CurrentVersion != from {
			return fmt.Errorf("%w: it is %d", rotation.ErrOvertaken, m.row.CurrentVersion)
		}
		if _, err := m.version(ctx, to); err != nil {
			return err
		}
		m.versions = []int64{to}
		makeCurrent(m.row, to)
		m.amendPath()
		return nil
	})
}

// retire deletes the former version, before the system is told to accept its credential no more: from here on nothing goes back to it, neither a
// rollback by hand nor a Secret whose workloads do not come up with the new one.
func (a *advance) retire(ctx context.Context) error {
	return a.amend(ctx, audit.DeleteVersions, changes.Versions, func(ctx context.Context, m *amendment) error {
		// Who rolled the path back since it was looked at has the run follow.
		run := &a.claim.Run
		if a.progress.Outcome.Reverted = m.row.CurrentVersion == run.From; a.progress.Outcome.Reverted {
			return nil
		}
		if m.row.CurrentVersion != run.To {
			return fmt.Errorf("%w: it is %d", rotation.ErrOvertaken, m.row.CurrentVersion)
		}
		return a.deleteFormer(ctx, m)
	})
}

// forgetFormer takes the label from the former version, which no system accepts any more. That it is deleted already is so unless somebody
// undeleted it, or an earlier version of Coffer began to retire it.
func (a *advance) forgetFormer(ctx context.Context) error {
	return a.amend(ctx, audit.Update, changes.Versions, func(ctx context.Context, m *amendment) error {
		run := &a.claim.Run
		switch m.row.CurrentVersion {
		case run.To:
		case run.From:
			return fmt.Errorf("%w: it is %d, whose credential is accepted no more; coffer rollback %s --to-version %d goes to the one that is",
				rotation.ErrOvertaken, run.From, run.Definition.Path, run.To)
		default:
			return fmt.Errorf("%w: it is %d", rotation.ErrOvertaken, m.row.CurrentVersion)
		}
		if m.row.PreviousVersion == run.From || m.row.PendingVersion == run.From {
			unlabel(m.row, run.From)
			m.versions = []int64{run.From}
			m.amendPath()
		}
		return a.deleteFormer(ctx, m)
	})
}

// deleteFormer deletes the former version, unless somebody has deleted or destroyed it.
func (a *advance) deleteFormer(ctx context.Context, m *amendment) error {
	from := a.claim.Run.From
	found, err := m.named(ctx, []int64{from})
	if errors.Is(err, secret.ErrVersionNotFound) {
		return nil // it was another secret's that the path had before
	}
	if err != nil {
		return err
	}
	if m.delete(&found[0]) {
		m.versions = []int64{from}
		a.note = fmt.Sprintf("; version %d is deleted, since it is retired", from)
	}
	return nil
}

// destroyNext destroys the new version, which no system accepts any more.
func (a *advance) destroyNext(ctx context.Context) error {
	to := a.claim.Run.To
	return a.amend(ctx, audit.DestroyVersions, changes.Versions, func(ctx context.Context, m *amendment) error {
		if m.row.CurrentVersion == to {
			return fmt.Errorf("%w: it is %d", rotation.ErrOvertaken, to)
		}
		found, err := m.named(ctx, []int64{to})
		if err != nil {
			return err
		}
		if found[0].DestroyedAt == nil {
			m.destroy(&found[0])
			m.versions = []int64{to}
		}
		return nil
	})
}

// amend changes the path in the name of the rotation's service account, and writes the run with it.
func (a *advance) amend(ctx context.Context, action audit.Action, kind changes.Kind, apply func(context.Context, *amendment) error) (err error) {
	ctx, done := a.engine.begin(ctx, action)
	defer func() { done(err) }()
	path, err := secret.ParsePath(a.claim.Run.Definition.Path)
	if err != nil {
		return err
	}
	r := request{caller: a.claim.Caller(), action: action, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Rotate}}
	_, err = a.engine.amend(ctx, r, kind, func(ctx context.Context, m *amendment) error {
		if !isLive(m.row) {
			return secret.ErrDenied
		}
		if err := apply(ctx, m); err != nil {
			return err
		}
		return a.write(ctx, m.tx, m.record)
	})
	return err
}
