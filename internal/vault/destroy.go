package vault

import (
	"context"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Destroy removes a path for good, whether it is deleted or not: the ciphertext and
// the wrapped keys of all its versions, those of former lives too, and its
// description, tags, reminder and access policy. What stays is that there was a path
// with so many versions, so that a later Put goes on with the next number. Destroying
// a destroyed path again changes nothing. It needs the delete capability; for a
// deleted path by a VaultPolicy.
//
// Errors: secret.ErrDenied (also when the path never existed), secret.ErrTampered,
// secret.ErrUnavailable, secret.ErrInvalid.
func (e *Engine) Destroy(ctx context.Context, caller secret.Caller, path secret.Path) (err error) {
	ctx, done := e.begin(ctx, audit.Destroy)
	defer func() { done(err) }()
	r := request{caller: caller, action: audit.Destroy, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Delete}}
	_, err = e.amend(ctx, r, changes.Destroy, func(ctx context.Context, a *amendment) error {
		a.versions = []int64{a.row.CurrentVersion}
		if a.row.DestroyedAt != nil {
			return nil
		}
		versions, err := a.tx.Versions(ctx, a.row.ID, 1, a.row.LastVersion)
		if err != nil {
			return err
		}
		for _, v := range versions {
			switch {
			case !a.engine.verifyVersion(&v):
				return errVersionMAC
			case !v.Deletion && v.DestroyedAt == nil:
				a.destroy(&v)
			}
		}
		a.empty()
		return nil
	})
	return err
}

// empty leaves nothing of the path but its numbers.
func (a *amendment) empty() {
	s := a.row
	if s.DeletedAt == nil {
		s.DeletedAt = &a.now
	}
	s.DestroyedAt = &a.now
	s.PreviousVersion, s.PendingVersion, s.MaxVersions = 0, 0, 0
	s.Description, s.Tags, s.RotateAfterDays = "", map[string]string{}, 0
	s.AllowedServices, s.AllowedEnvironments = []string{}, []string{}
	a.amendPath()
}
