package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type patchInput struct {
	Path           string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"Makes a repeated request one request: for a day, the same caller, path and key get the first answer again" example:"5f0c1f6e-8d0a-4a53-9b0e-3a3d1c7d2f10"`
	Body           sdk.PatchRequest
	// RawBody is Body as it came: decoded, numbers would lose digits.
	RawBody []byte
}

func (a *api) registerProperties(h huma.API) {
	huma.Register(h, operation(http.MethodPatch, "/v1/secret/properties", "patchSecret", "Write a new version of a secret in which some properties of the value are others"), a.patch)
}

func (a *api) patch(ctx context.Context, in *patchInput) (*metadataOutput, error) {
	defer clear(in.RawBody)
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	var body struct {
		Properties json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(in.RawBody, &body); err != nil {
		return nil, newProblem(http.StatusBadRequest, "the body is not the JSON that /openapi.json describes")
	}
	defer clear(body.Properties)
	patch, err := secret.NewValue(body.Properties)
	if err != nil {
		return nil, problemOf("patch "+in.Path, err)
	}
	written, err := a.vault.Patch(ctx, callerOf(ctx), secret.PatchRequest{
		Path: path, Patch: patch, ExpectedVersion: in.Body.ExpectedVersion, IdempotencyKey: in.IdempotencyKey,
	})
	if err != nil {
		return nil, a.fail(ctx, "patch "+in.Path, err)
	}
	return &metadataOutput{metadataOf(written)}, nil
}
