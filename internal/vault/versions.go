package vault

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// maxNamedVersions bounds the versions of one request.
const maxNamedVersions = 1000

// Versions describes the versions of a path, newest first, deleted and destroyed ones
// too. It needs the list or the read capability.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrTampered,
// secret.ErrUnavailable, secret.ErrInvalid.
func (e *Engine) Versions(ctx context.Context, caller secret.Caller, path secret.Path) ([]secret.Version, error) {
	return e.versions(ctx, caller, path, e.judgeVersion)
}

// DeletedVersions describes the versions of a path that is deleted or destroyed as a whole, newest first, with
// the labels that they would have again. It needs the list or the read capability, by a
// VaultPolicy: the access policy of a deleted path counts for nothing.
//
// Errors: secret.ErrDenied (also when the path never existed, or is not deleted), secret.ErrTampered,
// secret.ErrUnavailable, secret.ErrInvalid.
func (e *Engine) DeletedVersions(ctx context.Context, caller secret.Caller, path secret.Path) ([]secret.Version, error) {
	return e.versions(ctx, caller, path, e.judgeDeleted)
}

// judgeDeleted authorises access to a path that must be deleted.
func (e *Engine) judgeDeleted(ctx context.Context, r request, head store.Head) verdict {
	v := e.judge(ctx, r, head)
	if v.err == nil && (head.Secret == nil || isLive(head.Secret)) {
		return r.deny(ruleMissing)
	}
	return v
}

// judging decides a request, given what the database has of its path.
type judging func(context.Context, request, store.Head) verdict

func (e *Engine) versions(ctx context.Context, caller secret.Caller, path secret.Path, judge judging) (_ []secret.Version, err error) {
	ctx, done := e.begin(ctx, audit.Versions)
	defer func() { done(err) }()
	r := request{caller: caller, action: audit.Versions, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.List, policy.Read}}
	s, rows, verdict, err := e.headAndVersions(ctx, r, judge)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	if err := e.record(ctx, verdict); err != nil {
		return nil, err
	}
	if int64(len(rows)) != s.LastVersion-s.FirstVersion+1 {
		return nil, e.record(ctx, r.fail(errVersionAbsent, ruleVersionAbsent))
	}
	var found []secret.Version
	for _, v := range slices.Backward(rows) {
		if !e.verifyVersion(&v) {
			return nil, e.record(ctx, r.at(v.Version).fail(errVersionMAC, ruleVersionMAC))
		}
		if !v.Deletion {
			found = append(found, describe(s, &v))
		}
	}
	return found, nil
}

// headAndVersions reads the head row of a path and its versions as of one moment, and
// judges in between: who is denied makes no version be looked for.
func (e *Engine) headAndVersions(ctx context.Context, r request, judge judging) (*store.Secret, []store.Version, verdict, error) {
	for range headReads {
		head, err := e.head(ctx, r.caller, r.ref)
		if err != nil {
			return nil, nil, verdict{}, err
		}
		v := judge(ctx, r, head)
		if v.err != nil {
			return nil, nil, v, nil
		}
		rows, ok, err := e.store.VersionsOf(ctx, head.Secret)
		if err != nil || ok {
			return head.Secret, rows, v, err
		}
	}
	return nil, nil, verdict{}, errOvertaken
}

func describe(s *store.Secret, v *store.Version) secret.Version {
	d := secret.Version{
		Version: v.Version, Labels: labelsOf(s, v.Version), State: secret.Live, CreatedAt: v.CreatedAt.UTC(), CreatedBy: v.CreatedBy,
		DeletedAt: orZero(v.DeletedAt), DestroyedAt: orZero(v.DestroyedAt),
	}
	switch {
	case v.DestroyedAt != nil:
		d.State = secret.Destroyed
	case v.DeletedAt != nil:
		d.State = secret.Deleted
	}
	return d
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// DeleteVersions takes single versions of a path away until they are undeleted. The
// current version is refused, and then nothing is deleted; versions that are deleted
// already stay so. It needs the delete capability.
//
// Errors: secret.ErrDenied (also when the path does not exist),
// secret.ErrVersionIsCurrent, secret.ErrVersionNotFound, secret.ErrVersionDestroyed,
// secret.ErrTampered, secret.ErrUnavailable, secret.ErrInvalid.
func (e *Engine) DeleteVersions(ctx context.Context, caller secret.Caller, path secret.Path, versions ...int64) error {
	return e.amendVersions(ctx, caller, audit.DeleteVersions, path, versions, func(a *amendment, v *store.Version) error {
		switch {
		case v.Version == a.row.CurrentVersion:
			return fmt.Errorf("version %d: %w", v.Version, secret.ErrVersionIsCurrent)
		case v.DestroyedAt != nil:
			return fmt.Errorf("version %d: %w", v.Version, secret.ErrVersionDestroyed)
		}
		a.delete(v)
		return nil
	})
}

// UndeleteVersions brings deleted versions of a path back; versions that are not
// deleted stay as they are. It needs the delete capability.
//
// Errors are those of DeleteVersions, without secret.ErrVersionIsCurrent.
func (e *Engine) UndeleteVersions(ctx context.Context, caller secret.Caller, path secret.Path, versions ...int64) error {
	return e.amendVersions(ctx, caller, audit.UndeleteVersions, path, versions, func(a *amendment, v *store.Version) error {
		switch {
		case v.DestroyedAt != nil:
			return fmt.Errorf("version %d: %w", v.Version, secret.ErrVersionDestroyed)
		case v.DeletedAt != nil:
			v.DeletedAt, a.changed = nil, true
			a.engine.amendVersion(a.tx, a.row, v)
		}
		return nil
	})
}

// DestroyVersions removes the ciphertext and the wrapped keys of single versions of a
// path, deleted or not, for good. The current version is refused, and then nothing is
// destroyed; versions that are destroyed already stay so. A destroyed version loses
// its label. It needs the delete capability.
//
// Errors are those of DeleteVersions, without secret.ErrVersionDestroyed.
func (e *Engine) DestroyVersions(ctx context.Context, caller secret.Caller, path secret.Path, versions ...int64) error {
	return e.amendVersions(ctx, caller, audit.DestroyVersions, path, versions, func(a *amendment, v *store.Version) error {
		switch {
		case v.Version == a.row.CurrentVersion:
			return fmt.Errorf("version %d: %w", v.Version, secret.ErrVersionIsCurrent)
		case v.DestroyedAt == nil:
			a.destroy(v)
		}
		return nil
	})
}

// amendVersions applies a change to each of the named versions.
func (e *Engine) amendVersions(
	ctx context.Context, caller secret.Caller, action audit.Action, path secret.Path, versions []int64,
	apply func(*amendment, *store.Version) error,
) (err error) {
	ctx, done := e.begin(ctx, action)
	defer func() { done(err) }()
	if versions, err = validateVersions(versions); err != nil {
		return err
	}
	r := request{caller: caller, action: action, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Delete}}
	if len(versions) == 1 {
		r.ref.Version = versions[0]
	}
	_, err = e.amend(ctx, r, changes.Versions, func(ctx context.Context, a *amendment) error {
		if !isLive(a.row) {
			return secret.ErrDenied
		}
		found, err := a.named(ctx, versions)
		if err != nil {
			return err
		}
		for i := range found {
			if err := apply(a, &found[i]); err != nil {
				return err
			}
		}
		a.versions = versions
		return nil
	})
	return err
}

// validateVersions returns the versions in order, each once.
func validateVersions(versions []int64) ([]int64, error) {
	if len(versions) == 0 || len(versions) > maxNamedVersions {
		return nil, fmt.Errorf("%w: %d versions were named; name 1 to %d", secret.ErrInvalid, len(versions), maxNamedVersions)
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(versions)))
	if sorted[0] < 1 {
		return nil, fmt.Errorf("%w: version %d; versions count from 1", secret.ErrInvalid, sorted[0])
	}
	return sorted, nil
}
