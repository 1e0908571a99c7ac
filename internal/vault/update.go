package vault

import (
	"context"
	"fmt"
	"reflect"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Update changes what stands beside the value of a path, without a new version. The
// access policy needs the share capability, all else write; a request with both needs
// both. An update that changes nothing is audited only. A lowered maximum destroys
// nothing before the next write.
//
// ExpectedVersion, when not nil, is compare-and-set on the current version.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrConflict,
// secret.ErrInvalid, secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) Update(ctx context.Context, caller secret.Caller, req secret.UpdateRequest) (_ secret.Metadata, err error) {
	ctx, done := e.begin(ctx, audit.Update)
	defer func() { done(err) }()
	put := secret.PutRequest{
		Path: req.Path, Description: req.Description, Tags: req.Tags, RotateAfterDays: req.RotateAfterDays,
		MaxVersions: req.MaxVersions, Access: req.Access, ExpectedVersion: req.ExpectedVersion,
	}
	if err := validate(put); err != nil {
		return secret.Metadata{}, err
	}
	r := request{caller: caller, action: audit.Update, ref: secret.Ref{Path: req.Path}, needAll: true}
	kind := changes.Metadata
	if req.Description != nil || req.Tags != nil || req.RotateAfterDays != nil || req.MaxVersions != nil {
		r.need = append(r.need, policy.Write)
	}
	if req.Access != nil {
		r.need = append(r.need, policy.Share)
		kind = changes.Access
	}
	if len(r.need) == 0 {
		return secret.Metadata{}, fmt.Errorf("%w: an update of nothing; give what to change", secret.ErrInvalid)
	}
	a, err := e.amend(ctx, r, kind, func(ctx context.Context, a *amendment) (err error) {
		if !isLive(a.row) {
			return secret.ErrDenied
		}
		if err := compare(req.ExpectedVersion, a.row.CurrentVersion); err != nil {
			return err
		}
		if a.described, err = a.version(ctx, a.row.CurrentVersion); err != nil {
			return err
		}
		a.versions = []int64{a.row.CurrentVersion}
		before := *a.row
		applyPut(a.row, put)
		if !reflect.DeepEqual(before, *a.row) {
			a.amendPath()
		}
		return nil
	})
	if err != nil {
		return secret.Metadata{}, err
	}
	return metadata(req.Path, a.row, a.described), nil
}
