package server

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	rollbackInput struct {
		Path string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Body sdk.RollbackRequest
	}
	promoteInput struct {
		Path string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Body sdk.PromoteRequest
	}
	versionsInput struct {
		Path string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Body sdk.VersionNumbers
	}
	listVersionsInput struct {
		Path    string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Deleted bool   `query:"deleted" doc:"Describe the versions of a secret that is deleted as a whole, in place of one that is not"`
	}
	versionsOutput struct{ Body sdk.VersionList }
)

func (a *api) registerVersions(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/secret/versions", "listVersions", "Describe the versions of a secret"), a.versions)
	huma.Register(h, operation(http.MethodPost, "/v1/secret/rollback", "rollbackSecret", "Make an earlier version current again"), a.rollback)
	huma.Register(h, operation(http.MethodPost, "/v1/secret/promote", "promoteSecret", "Make the pending version current"), a.promote)
	huma.Register(h, operation(http.MethodPost, "/v1/secret/undelete", "undeleteSecret", "Bring a deleted secret back as it was"), a.undelete)
	huma.Register(h, withoutBody("/v1/secret/destroy", "destroySecret", "Remove a secret with all its versions for good"), a.destroy)
	huma.Register(h, withoutBody("/v1/secret/versions/delete", "deleteVersions", "Delete versions until they are undeleted"), a.deleteVersions)
	huma.Register(h, withoutBody("/v1/secret/versions/undelete", "undeleteVersions", "Bring deleted versions back"), a.undeleteVersions)
	huma.Register(h, withoutBody("/v1/secret/versions/destroy", "destroyVersions", "Remove the values of versions for good"), a.destroyVersions)
}

// withoutBody is a POST whose answer has no body.
func withoutBody(route, id, summary string) huma.Operation {
	o := operation(http.MethodPost, route, id, summary)
	o.DefaultStatus = http.StatusNoContent
	return o
}

// refOf reads a version given by number or label; the current one when it is empty.
func refOf(path, version string) (secret.Ref, error) {
	parsed, err := parsePath(path)
	if err != nil {
		return secret.Ref{}, err
	}
	ref := secret.Ref{Path: parsed}
	if version == "" {
		return ref, nil
	}
	if ref.Version, err = strconv.ParseInt(version, 10, 64); err == nil && ref.Version >= 1 {
		return ref, nil
	}
	ref.Version = 0
	if ref.Label, err = secret.ParseLabel(version); err != nil {
		p := newProblem(http.StatusUnprocessableEntity, "validation failed")
		p.Errors = []sdk.FieldProblem{{Location: "query.version", Message: "expected a number from 1, or current, previous or pending"}}
		return secret.Ref{}, p
	}
	return ref, nil
}

func (a *api) versions(ctx context.Context, in *listVersionsInput) (*versionsOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	describe := a.vault.Versions
	if in.Deleted {
		describe = a.vault.DeletedVersions
	}
	found, err := describe(ctx, callerOf(ctx), path)
	if err != nil {
		return nil, a.fail(ctx, "list the versions of "+in.Path, err)
	}
	out := sdk.VersionList{Items: make([]sdk.Version, len(found))}
	for i, v := range found {
		out.Items[i] = versionOf(v)
	}
	return &versionsOutput{out}, nil
}

func (a *api) rollback(ctx context.Context, in *rollbackInput) (*metadataOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	now, err := a.vault.Rollback(ctx, callerOf(ctx), secret.Ref{Path: path, Version: in.Body.Version}, in.Body.ExpectedVersion)
	if err != nil {
		return nil, a.fail(ctx, "roll back "+in.Path, err)
	}
	return &metadataOutput{metadataOf(now)}, nil
}

func (a *api) promote(ctx context.Context, in *promoteInput) (*metadataOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	now, err := a.vault.Promote(ctx, callerOf(ctx), path, in.Body.ExpectedVersion)
	if err != nil {
		return nil, a.fail(ctx, "promote "+in.Path, err)
	}
	return &metadataOutput{metadataOf(now)}, nil
}

func (a *api) undelete(ctx context.Context, in *pathInput) (*metadataOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	now, err := a.vault.Undelete(ctx, callerOf(ctx), path)
	if err != nil {
		return nil, a.fail(ctx, "undelete "+in.Path, err)
	}
	return &metadataOutput{metadataOf(now)}, nil
}

func (a *api) destroy(ctx context.Context, in *pathInput) (*struct{}, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	if err := a.vault.Destroy(ctx, callerOf(ctx), path); err != nil {
		return nil, a.fail(ctx, "destroy "+in.Path, err)
	}
	return nil, nil
}

func (a *api) deleteVersions(ctx context.Context, in *versionsInput) (*struct{}, error) {
	return a.amendVersions(ctx, "delete", in, a.vault.DeleteVersions)
}

func (a *api) undeleteVersions(ctx context.Context, in *versionsInput) (*struct{}, error) {
	return a.amendVersions(ctx, "undelete", in, a.vault.UndeleteVersions)
}

func (a *api) destroyVersions(ctx context.Context, in *versionsInput) (*struct{}, error) {
	return a.amendVersions(ctx, "destroy", in, a.vault.DestroyVersions)
}

type amender func(context.Context, secret.Caller, secret.Path, ...int64) error

func (a *api) amendVersions(ctx context.Context, verb string, in *versionsInput, amend amender) (*struct{}, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	if err := amend(ctx, callerOf(ctx), path, in.Body.Versions...); err != nil {
		return nil, a.fail(ctx, verb+" versions of "+in.Path, err)
	}
	return nil, nil
}
