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
// stored. The deletion has a version number of its own, and a later Put goes on
// with the next one. It needs the delete capability.
//
// Errors: secret.ErrDenied (also when the path does not exist),
// secret.ErrTampered, secret.ErrUnavailable, secret.ErrInvalid.
func (e *Engine) Delete(ctx context.Context, caller secret.Caller, path secret.Path) (err error) {
	ctx, done := e.begin(ctx, audit.Delete)
	defer func() { done(err) }()
	r := request{caller: caller, action: audit.Delete, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Delete}}
	head, err := e.head(ctx, caller, r.ref)
	if err != nil {
		return err
	}
	verdict := e.judge(ctx, r, head)
	if verdict.err == nil && !isLive(head.Secret) {
		verdict = r.deny(ruleMissing)
	}
	if verdict.err != nil {
		return e.record(ctx, verdict)
	}
	change := changes.Change{Kind: changes.Delete, Path: path}
	err = e.transact(ctx, audit.Delete, func(tx *store.Tx, record func(audit.Entry)) error {
		row, err := tx.LockSecret(ctx, path.String())
		switch {
		case err != nil:
			return err
		case row != nil && !e.verifySecret(row):
			return secret.ErrTampered
		case !isLive(row):
			return secret.ErrDenied
		}
		now := e.now()
		row.DeletedAt = &now
		row.LastVersion++
		row.Revision++
		row.MAC = e.secretMAC(row)
		tx.UpdateSecret(row)
		tx.InsertVersion(e.tombstone(row, caller), nil)
		change.Version = row.CurrentVersion
		tx.InsertChange(change)
		entry := verdict.entry
		entry.Version = row.CurrentVersion
		record(entry)
		return nil
	})
	if err != nil {
		return e.recordFailedWrite(ctx, r, err)
	}
	e.announce(change)
	return nil
}

// tombstone is the version of a deletion. It holds no value and cannot be read;
// that it is there tells that a head row from before the deletion is an old one,
// put back.
func (e *Engine) tombstone(row *store.Secret, caller secret.Caller) *store.Version {
	v := &store.Version{SecretID: row.ID, Version: row.LastVersion, CreatedAt: *row.DeletedAt, CreatedBy: caller.String()}
	v.MAC = e.versionMAC(v)
	return v
}
