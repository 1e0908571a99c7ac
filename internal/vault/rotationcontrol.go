package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// maxReasonBytes bounds what the operator says about consumers that do not come up, and about an event that asks for a rotation.
const maxReasonBytes = 1 << 10

// RunRotation has the rotation of a path begin now, whatever its schedule says. An event is asked for in the name of caller too. With
// RevokeOld, a run that is under way counts as the one that is asked for, and waits for nobody any more. It needs the rotate capability.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrInvalid (it has no rotation, or the event is no text of up to
// 1 KiB), secret.ErrConflict (it is being rotated; with RevokeOld, by a run that goes back to the former credential, or that a write has
// overtaken), secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) RunRotation(ctx context.Context, caller secret.Caller, path secret.Path, asked rotation.Request) (_ rotation.Run, err error) {
	ctx, done := e.begin(ctx, audit.RotationRun)
	defer func() { done(err) }()
	if err := validateText("the event", asked.Event, maxReasonBytes); err != nil {
		return rotation.Run{}, err
	}
	r, by, err := e.mayRotate(ctx, caller, audit.RotationRun, path)
	if err != nil {
		return rotation.Run{}, err
	}
	run, err := e.runNow(ctx, by, path, asked)
	switch {
	case errors.Is(err, errRotationBusy):
		return rotation.Run{}, e.record(ctx, r.fail(err, ruleNotPossible))
	case errors.Is(err, rotation.ErrNotNow):
		return rotation.Run{}, e.record(ctx, r.fail(fmt.Errorf("%w: %w", secret.ErrConflict, err), ruleNotPossible))
	case errors.Is(err, secret.ErrTampered):
		return rotation.Run{}, e.record(ctx, r.fail(err, ruleRunMAC))
	case errors.Is(err, secret.ErrInvalid):
		return rotation.Run{}, e.record(ctx, r.fail(err, ruleNotPossible))
	case err != nil:
		return rotation.Run{}, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	return *run, nil
}

// runNow plans a run of a path or, with RevokeOld, hurries the one that is under way. What is done is audited.
func (e *Engine) runNow(ctx context.Context, by rotationActor, path secret.Path, asked rotation.Request) (*rotation.Run, error) {
	if asked.RevokeOld {
		if run, err := e.hurryRun(ctx, by, path); !errors.Is(err, errNoRun) {
			return run, err
		}
	}
	defined, err := e.definedRotations(ctx)
	if err != nil {
		return nil, err
	}
	d, err := definitionOf(by.caller, path, defined)
	if err != nil {
		return nil, err
	}
	run, err := e.planRun(ctx, by, d, asked.Run(by.caller.String(), e.now()))
	if err == nil && run == nil {
		return nil, fmt.Errorf("%w; coffer rotation show %s says how far that is", errRotationBusy, path)
	}
	return run, err
}

// hurryRun has the run of a path that is under way wait for nobody. errNoRun when there is none.
func (e *Engine) hurryRun(ctx context.Context, by rotationActor, path secret.Path) (*rotation.Run, error) {
	head, err := e.head(ctx, by.caller, secret.Ref{Path: path})
	if err != nil {
		return nil, err
	}
	if !isLive(head.Secret) {
		return nil, errNoRun // it was deleted just now; what is planned fails by itself
	}
	current := head.Secret.CurrentVersion
	by.rule += "; consumers are waited for no more"
	run, err := e.rewriteRun(ctx, by, path, func(r rotation.Run) (rotation.Run, error) {
		if r.From != 0 && current != r.From && current != r.To {
			return r, fmt.Errorf("%w: it replaces version %d, and somebody has written version %d since, so that it ends in a moment; coffer rotation show %s, "+
				"and then coffer leak %s", rotation.ErrNotNow, r.From, current, path, path)
		}
		return r.Leaked()
	})
	if err != nil {
		return nil, err
	}
	return &run, nil
}

// ApproveRotation lets the run of a path that waits go on: without the consumers that have not moved, or with what failed. It needs the
// rotate capability.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrConflict (nothing waits for it), secret.ErrTampered,
// secret.ErrUnavailable.
func (e *Engine) ApproveRotation(ctx context.Context, caller secret.Caller, path secret.Path) (rotation.Run, error) {
	return e.changeRun(ctx, caller, audit.RotationApprove, path, rotation.Run.Approve)
}

// CancelRotation has the run of a path rolled back. One that cannot go on is given up, which leaves both credentials as they are. It needs the
// rotate capability.
//
// Errors are those of ApproveRotation.
func (e *Engine) CancelRotation(ctx context.Context, caller secret.Caller, path secret.Path) (rotation.Run, error) {
	return e.changeRun(ctx, caller, audit.RotationCancel, path, func(r rotation.Run) (rotation.Run, error) {
		return r.Cancel(caller.String(), e.now())
	})
}

// changeRun changes the run of a path that has not ended, as somebody wants it.
func (e *Engine) changeRun(
	ctx context.Context, caller secret.Caller, action audit.Action, path secret.Path, change func(rotation.Run) (rotation.Run, error),
) (_ rotation.Run, err error) {
	ctx, done := e.begin(ctx, action)
	defer func() { done(err) }()
	r, by, err := e.mayRotate(ctx, caller, action, path)
	if err != nil {
		return rotation.Run{}, err
	}
	run, err := e.rewriteRun(ctx, by, path, change)
	switch {
	case errors.Is(err, rotation.ErrNotNow), errors.Is(err, errNoRun):
		return rotation.Run{}, e.record(ctx, r.fail(fmt.Errorf("%w: %w", secret.ErrConflict, err), ruleNotPossible))
	case errors.Is(err, secret.ErrTampered):
		return rotation.Run{}, e.record(ctx, r.fail(err, ruleRunMAC))
	case err != nil:
		return rotation.Run{}, fmt.Errorf("%s %s: %w", action, path, err)
	}
	return run, nil
}

// FailRotation stops the run that made a version of a path, when its consumers do not come up with it: the operator says so. The
// definition says what becomes of it. It is no error when there is no such run, or when it is beyond that.
//
// Errors: secret.ErrInvalid, secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) FailRotation(ctx context.Context, path secret.Path, version int64, reason string) (err error) {
	ctx, done := e.begin(ctx, audit.RotationFail)
	defer func() { done(err) }()
	if err := validateText("the reason", reason, maxReasonBytes); err != nil {
		return err
	}
	_, err = e.rewriteRun(ctx, rotationActor{caller: rotator, action: audit.RotationFail}, path, func(r rotation.Run) (rotation.Run, error) {
		if r.To != version {
			return r, errNoRun
		}
		return r.Fail(reason)
	})
	if errors.Is(err, errNoRun) || errors.Is(err, rotation.ErrNotNow) {
		return nil
	}
	return err
}

// errNoRun says that a path has no run, or none that has not ended.
var errNoRun = errors.New("the path is not being rotated")

// rewriteRun changes the run of a path under its lock. Who works on it finds it changed, and takes it anew.
func (e *Engine) rewriteRun(
	ctx context.Context, by rotationActor, path secret.Path, change func(rotation.Run) (rotation.Run, error),
) (run rotation.Run, err error) {
	err = e.transact(ctx, by.action, func(tx *store.Tx, record func(audit.Entry)) error {
		row, err := tx.LockRotationRun(ctx, path.String())
		if err != nil {
			return err
		}
		if row == nil {
			return errNoRun
		}
		before, err := e.openRun(row)
		if err != nil {
			return err
		}
		if run, err = change(before); err != nil {
			return err
		}
		run.Steps++
		if row, err = e.sealRun(&run, row); err != nil {
			return err
		}
		tx.ChangeRotationRun(row)
		tx.InsertRotationStep(e.sealStep(row.ID, &run, fmt.Sprintf("%s by %s", by.action, by.caller), e.now()))
		record(by.entry(&run, fmt.Sprintf("%s: %s", run.Definition.Name, before.State)))
		return e.tell(tx, notification.OfRun(&before, &run, by.caller.String(), e.now())...)
	})
	if err == nil {
		e.metrics.wrote(&run) // it had not ended before
	}
	return run, err
}

// mayRotate authorises what somebody wants of the runs of a path. Only a refusal is audited: what is allowed has an audit row with
// what is written.
func (e *Engine) mayRotate(ctx context.Context, caller secret.Caller, action audit.Action, path secret.Path) (request, rotationActor, error) {
	r := request{caller: caller, action: action, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Rotate}}
	head, err := e.head(ctx, caller, r.ref)
	if err != nil {
		return r, rotationActor{}, err
	}
	v := e.judge(ctx, r, head)
	if v.err == nil && !isLive(head.Secret) {
		v = r.deny(ruleMissing)
	}
	if v.err != nil {
		return r, rotationActor{}, e.record(ctx, v)
	}
	return r, rotationActor{caller: caller, action: action, rule: v.entry.Rule}, nil
}
