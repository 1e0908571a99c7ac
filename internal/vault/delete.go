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
// stored, and a later Put goes on with the next number. It needs the delete
// capability.
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
	err = e.store.InTx(ctx, func(tx *store.Tx) error {
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
		row.Revision++
		row.MAC = e.secretMAC(row)
		tx.UpdateSecret(row)
		change.Version = row.CurrentVersion
		tx.InsertChange(change)
		entry := verdict.entry
		entry.Version = row.CurrentVersion
		tx.InsertAudit(&entry)
		return tx.Flush(ctx)
	})
	if err != nil {
		return e.recordFailedWrite(ctx, r, err)
	}
	e.announce(ctx, change)
	return nil
}
