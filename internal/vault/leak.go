package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Leak notes that a version of a path, the current one when it is 0, is leaked, and has it replaced: the rotation of the path begins, with
// revokeOld, or the run that replaces the version already waits for nobody any more. The run is nil when nothing of that is
// to be done by Coffer: no rotation is defined, or the version is no more the current one. The reason, which may be empty, stands in the
// audit log. It needs the rotate capability.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrInvalid (also when it is rotated by several clusters, of which
// none is the caller's), secret.ErrVersionNotFound, secret.ErrConflict (the version was made by the run that is under way, or that goes back to it),
// secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) Leak(ctx context.Context, caller secret.Caller, path secret.Path, version int64, reason string) (_ *rotation.Run, err error) {
	ctx, done := e.begin(ctx, audit.Leak)
	defer func() { done(err) }()
	if err := validateText("the reason", reason, maxReasonBytes); err != nil {
		return nil, err
	}
	r, by, err := e.mayRotate(ctx, caller, audit.Leak, path)
	if err != nil {
		return nil, err
	}
	head, err := e.head(ctx, caller, r.ref)
	if err != nil {
		return nil, err
	}
	if version, err = leakedVersion(head.Secret, version); err != nil {
		return nil, e.record(ctx, r.fail(err, ruleOf(err)))
	}
	r = r.at(version)
	by.rule += fmt.Sprintf("; version %d is leaked", version)
	if reason != "" {
		by.rule += ": " + reason
	}
	run, err := e.replaceLeaked(ctx, by, head.Secret, version)
	switch {
	case errors.Is(err, errRotationBusy):
		return nil, e.record(ctx, r.fail(err, ruleNotPossible))
	case errors.Is(err, rotation.ErrNotNow):
		return nil, e.record(ctx, r.fail(fmt.Errorf("%w: %w", secret.ErrConflict, err), ruleNotPossible))
	case errors.Is(err, secret.ErrTampered):
		return nil, e.record(ctx, r.fail(err, ruleRunMAC))
	case errors.Is(err, secret.ErrInvalid):
		return nil, e.record(ctx, r.fail(err, ruleNotPossible))
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	case run == nil:
		return nil, e.declareLeaked(ctx, r, by, version)
	}
	return run, nil
}

// declareLeaked audits and tells of a version that no run replaces.
func (e *Engine) declareLeaked(ctx context.Context, r request, by rotationActor, version int64) error {
	leaked := notification.Leaked{Path: r.ref.Path.String(), Version: version, By: by.caller.String()}
	return e.transact(ctx, r.action, func(tx *store.Tx, record func(audit.Entry)) error {
		record(r.entry(audit.Allowed, by.rule))
		return e.tell(tx, leaked.Event(uuid.UUID(e.vaultID), e.now()))
	})
}

// leakedVersion is the number of a version that there is, or was.
func leakedVersion(s *store.Secret, version int64) (int64, error) {
	switch {
	case !isLive(s):
		return 0, secret.ErrDenied
	case version == 0:
		return s.CurrentVersion, nil
	case version < s.FirstVersion || version > s.LastVersion:
		return 0, secret.ErrVersionNotFound
	}
	return version, nil
}

// replaceLeaked hurries the run that replaces a version, or plans one. The run is nil when there is nothing to rotate. What is done is audited.
func (e *Engine) replaceLeaked(ctx context.Context, by rotationActor, s *store.Secret, version int64) (*rotation.Run, error) {
	path, err := secret.ParsePath(s.Path)
	if err != nil {
		return nil, err
	}
	run, err := e.rewriteRun(ctx, by, path, func(r rotation.Run) (rotation.Run, error) {
		switch {
		case r.To == version && r.State == rotation.Retiring:
			return r, fmt.Errorf("%w: version %d is its own; coffer rotation show %s says when it is done, and then coffer leak %s", rotation.ErrNotNow, version, path, path)
		case r.To == version:
			return r, fmt.Errorf("%w: version %d is its own; coffer rotation cancel %s revokes that", rotation.ErrNotNow, version, path)
		case r.From != version && (r.From != 0 || version != s.CurrentVersion):
			return r, errNoRun // of other versions
		}
		return r.Leaked()
	})
	switch {
	case err == nil:
		return &run, nil
	case !errors.Is(err, errNoRun):
		return nil, err
	case version != s.CurrentVersion:
		return nil, nil
	}
	defined, err := e.definedRotations(ctx)
	if err != nil {
		return nil, err
	}
	d, err := definitionOf(by.caller, path, defined)
	if errors.Is(err, errNoRotation) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	planned, err := e.planRun(ctx, by, d, rotation.Request{RevokeOld: true}.Run(by.caller.String(), e.now()))
	if err == nil && planned == nil {
		return nil, fmt.Errorf("%w; coffer leak %s again", errRotationBusy, path) // it began just now
	}
	return planned, err
}
