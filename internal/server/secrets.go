package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

// The inputs do not embed each other: huma passes over fields of embedded unexported
// structs.
type (
	pathInput struct {
		Path string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
	}
	readInput struct {
		Path    string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Version string `query:"version" doc:"Number of the version to read, or current, previous or pending; the current one when absent" example:"previous"`
	}
	writeInput struct {
		Path           string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repeated request one request: for a day, the same caller, path and key get the first answer again" example:"5f0c1f6e-8d0a-4a53-9b0e-3a3d1c7d2f10"`
		Body           sdk.PutRequest
	}
	updateInput struct {
		Path string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Body sdk.UpdateRequest
	}
	secretOutput   struct{ Body sdk.Secret }
	metadataOutput struct{ Body sdk.Metadata }
)

func (a *api) registerSecrets(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/secret", "getSecret", "Read a version of a secret"), a.get)
	huma.Register(h, operation(http.MethodPut, "/v1/secret", "putSecret", "Write a new version of a secret"), a.put)
	huma.Register(h, operation(http.MethodPost, "/v1/secret/rotate", "rotateSecret", "Write a new version of a secret that exists"), a.rotate)
	huma.Register(h, operation(http.MethodPatch, "/v1/secret", "updateSecret", "Change what stands beside the value, without a new version"), a.update)
	huma.Register(h, operation(http.MethodDelete, "/v1/secret", "deleteSecret", "Delete a secret, until it is undeleted; a later write goes on with the next version"), a.remove)
	huma.Register(h, operation(http.MethodGet, "/v1/secret/metadata", "getMetadata", "Describe a secret without its value"), a.metadata)
}

// operation is a route that answers with problems in the standard cases.
func operation(method, route, id, summary string) huma.Operation {
	o := huma.Operation{
		Method: method, Path: route, OperationID: id, Summary: summary,
		MaxBodyBytes: maxBodyBytes,
		Errors: []int{
			http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusUnprocessableEntity,
			http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable,
		},
	}
	if method == http.MethodPut || method == http.MethodPost || method == http.MethodPatch {
		o.Errors = append(o.Errors, http.StatusRequestTimeout, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if method == http.MethodDelete {
		o.DefaultStatus = http.StatusNoContent
	}
	return o
}

func (a *api) get(ctx context.Context, in *readInput) (*secretOutput, error) {
	ref, err := refOf(in.Path, in.Version)
	if err != nil {
		return nil, err
	}
	found, err := a.vault.Read(ctx, callerOf(ctx), ref)
	if err != nil {
		return nil, a.fail(ctx, "read "+in.Path, err)
	}
	e := exchangeOf(ctx)
	e.after = append(e.after, found.Value.Clear)
	return &secretOutput{sdk.Secret{Metadata: metadataOf(found.Metadata), Value: found.Value.Bytes()}}, nil
}

func (a *api) put(ctx context.Context, in *writeInput) (*metadataOutput, error) {
	return a.write(ctx, "put", in, a.vault.Put)
}

func (a *api) rotate(ctx context.Context, in *writeInput) (*metadataOutput, error) {
	return a.write(ctx, "rotate", in, a.vault.Rotate)
}

type writer func(context.Context, secret.Caller, secret.PutRequest) (secret.Metadata, error)

func (a *api) write(ctx context.Context, verb string, in *writeInput, write writer) (*metadataOutput, error) {
	defer clear(in.Body.Value)
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	value, err := secret.NewValue(in.Body.Value)
	if err != nil {
		return nil, problemOf(verb+" "+in.Path, err)
	}
	request := secret.PutRequest{
		Path: path, Value: value, Description: in.Body.Description, Tags: in.Body.Tags,
		RotateAfterDays: in.Body.RotateAfterDays, ExpectedVersion: in.Body.ExpectedVersion,
		Pending: in.Body.Pending, MaxVersions: in.Body.MaxVersions, IdempotencyKey: in.IdempotencyKey,
		Access: accessOf(in.Body.Access),
	}
	written, err := write(ctx, callerOf(ctx), request)
	if err != nil {
		return nil, a.fail(ctx, verb+" "+in.Path, err)
	}
	return &metadataOutput{metadataOf(written)}, nil
}

func accessOf(access *sdk.AccessPolicy) *secret.AccessPolicy {
	if access == nil {
		return nil
	}
	return &secret.AccessPolicy{AllowedServices: access.AllowedServices, AllowedEnvironments: access.AllowedEnvironments}
}

func (a *api) update(ctx context.Context, in *updateInput) (*metadataOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	now, err := a.vault.Update(ctx, callerOf(ctx), secret.UpdateRequest{
		Path: path, Description: in.Body.Description, Tags: in.Body.Tags, RotateAfterDays: in.Body.RotateAfterDays,
		MaxVersions: in.Body.MaxVersions, Access: accessOf(in.Body.Access), ExpectedVersion: in.Body.ExpectedVersion,
	})
	if err != nil {
		return nil, a.fail(ctx, "update "+in.Path, err)
	}
	return &metadataOutput{metadataOf(now)}, nil
}

func (a *api) remove(ctx context.Context, in *pathInput) (*struct{}, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	if err := a.vault.Delete(ctx, callerOf(ctx), path); err != nil {
		return nil, a.fail(ctx, "delete "+in.Path, err)
	}
	return nil, nil
}

func (a *api) metadata(ctx context.Context, in *pathInput) (*metadataOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	found, err := a.vault.Metadata(ctx, callerOf(ctx), path)
	if err != nil {
		return nil, a.fail(ctx, "describe "+in.Path, err)
	}
	return &metadataOutput{metadataOf(found)}, nil
}

func parsePath(s string) (secret.Path, error) {
	path, err := secret.ParsePath(s)
	if err != nil {
		return secret.Path{}, problemOf("", err)
	}
	return path, nil
}

// fail makes a Problem of an error of the engine, and logs the ones that are not the
// client's: their text does not go out.
func (a *api) fail(ctx context.Context, asked string, err error) error {
	p := problemOf(asked, err)
	if p.Status >= http.StatusInternalServerError {
		a.logger.ErrorContext(ctx, "a request failed", "asked", asked, "error", err, "requestID", exchangeOf(ctx).requestID)
	}
	if p.Code == sdk.CodeUnavailable {
		return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {"1"}})
	}
	return p
}
