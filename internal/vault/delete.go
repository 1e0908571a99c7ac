package vault

import (
	"context"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Delete takes a path away: it can be neither read nor listed. Its versions stay
// stored, and Undelete brings it back as it was. The deletion has a version number of
// its own, and a later Put goes on with the next one. It needs the delete capability.
//
// Errors: secret.ErrDenied (also when the path does not exist),
// secret.ErrTampered, secret.ErrUnavailable, secret.ErrInvalid.
func (e *Engine) Delete(ctx context.Context, caller secret.Caller, path secret.Path) (err error) {
	ctx, done := e.begin(ctx, audit.Delete)
	defer func() { done(err) }()
	r := request{caller: caller, action: audit.Delete, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Delete}}
	_, err = e.amend(ctx, r, changes.Delete, func(_ context.Context, a *amendment) error {
		if !isLive(a.row) {
			return secret.ErrDenied
		}
		a.row.DeletedAt = &a.now
		a.row.LastVersion++
		a.tx.InsertVersion(a.tombstone(), nil)
		a.versions, a.changed = []int64{a.row.CurrentVersion}, true
		return nil
	})
	return err
}

// tombstone is the version of a deletion. It holds no value and cannot be read;
// that it is there tells that a head row from before the deletion is an old one,
// put back.
func (a *amendment) tombstone() *store.Version {
	v := &store.Version{SecretID: a.row.ID, Version: a.row.LastVersion, CreatedAt: a.now, CreatedBy: a.caller.String(), Deletion: true}
	v.MAC = a.engine.versionMAC(v)
	return v
}

// Undelete brings a deleted path back as it was, with its versions, labels, access
// policy and all else. A path that is not deleted stays as it is, and that is no
// error. It needs the delete capability, by a VaultPolicy: the access policy of a
// deleted path counts for nothing.
//
// Errors: secret.ErrDenied (also when the path never existed),
// secret.ErrVersionDestroyed when the path was destroyed, secret.ErrTampered,
// secret.ErrUnavailable, secret.ErrInvalid.
func (e *Engine) Undelete(ctx context.Context, caller secret.Caller, path secret.Path) (_ secret.Metadata, err error) {
	ctx, done := e.begin(ctx, audit.Undelete)
	defer func() { done(err) }()
	r := request{caller: caller, action: audit.Undelete, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Delete}}
	a, err := e.amend(ctx, r, changes.Undelete, func(ctx context.Context, a *amendment) (err error) {
		if a.row.DestroyedAt != nil {
			return secret.ErrVersionDestroyed
		}
		a.versions = []int64{a.row.CurrentVersion}
		if a.described, err = a.version(ctx, a.row.CurrentVersion); err != nil || isLive(a.row) {
			return err
		}
		a.row.DeletedAt = nil
		a.amendPath()
		return nil
	})
	if err != nil {
		return secret.Metadata{}, err
	}
	return metadata(path, a.row, a.described), nil
}
