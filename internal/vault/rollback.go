package vault

import (
	"context"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Rollback makes a version current that was written before: the one that to names, or
// the previous one when to names none. The version that was current becomes previous,
// so that a second Rollback without a version undoes the first. Nothing is written
// anew; the next write gets the next number. Rolling back to the version that is
// current changes nothing and is no error. It needs the rotate capability.
//
// Expected, when not nil, is compare-and-set on the current version. Give it, or a
// version by number, where the request may be sent twice.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrConflict,
// secret.ErrVersionNotFound (also as secret.ErrVersionDeleted and
// secret.ErrVersionDestroyed), secret.ErrTampered, secret.ErrUnavailable,
// secret.ErrInvalid.
func (e *Engine) Rollback(ctx context.Context, caller secret.Caller, to secret.Ref, expected *int64) (_ secret.Metadata, err error) {
	ctx, done := e.begin(ctx, audit.Rollback)
	defer func() { done(err) }()
	if _, err := wantedOf(caller, to); err != nil {
		return secret.Metadata{}, err
	}
	if to.Version == 0 && to.Label == "" {
		to.Label = secret.Previous
	}
	return e.relabel(ctx, caller, audit.Rollback, changes.Rollback, to, expected)
}

// Promote makes the pending version of a path current, and the current one previous.
// It needs the rotate capability. Expected, when not nil, is compare-and-set on the
// current version.
//
// Errors are those of Rollback; without a pending version, secret.ErrVersionNotFound.
func (e *Engine) Promote(ctx context.Context, caller secret.Caller, path secret.Path, expected *int64) (_ secret.Metadata, err error) {
	ctx, done := e.begin(ctx, audit.Promote)
	defer func() { done(err) }()
	return e.relabel(ctx, caller, audit.Promote, changes.Promote, secret.Ref{Path: path, Label: secret.Pending}, expected)
}

func (e *Engine) relabel(ctx context.Context, caller secret.Caller, action audit.Action, kind changes.Kind, to secret.Ref, expected *int64) (secret.Metadata, error) {
	r := request{caller: caller, action: action, ref: to, need: []policy.Capability{policy.Rotate}}
	a, err := e.amend(ctx, r, kind, func(ctx context.Context, a *amendment) error {
		if !isLive(a.row) {
			return secret.ErrDenied
		}
		if err := compare(expected, a.row.CurrentVersion); err != nil {
			return err
		}
		number, err := labelled(a.row, to)
		if err != nil {
			return err
		}
		if a.described, err = a.version(ctx, number); err != nil {
			return err
		}
		a.versions = []int64{number}
		if number != a.row.CurrentVersion {
			makeCurrent(a.row, number)
			a.amendPath()
		}
		return nil
	})
	if err != nil {
		return secret.Metadata{}, err
	}
	return metadata(to.Path, a.row, a.described), nil
}
