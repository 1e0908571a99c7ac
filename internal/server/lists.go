package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	prefixInput struct {
		Prefix string `query:"prefix" doc:"Only what lies below this prefix; everything when absent" example:"production/payments/"`
	}
	listInput struct {
		Prefix string `query:"prefix" doc:"Only what lies below this prefix; everything when absent" example:"production/payments/"`
		After  string `query:"after" doc:"Begin after this path"`
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Most items to return"`
	}
	listOutput     struct{ Body sdk.SecretList }
	overdueOutput  struct{ Body sdk.OverdueList }
	rotationOutput struct{ Body sdk.RotationList }
)

func (a *api) registerLists(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/secrets", "listSecrets", "List secrets, never their values"), a.list)
	huma.Register(h, operation(http.MethodGet, "/v1/rotation", "listRotation", "List secrets with a reminder, and when their rotation is due"), a.rotations)
	huma.Register(h, operation(http.MethodGet, "/v1/rotation/overdue", "listOverdue", "List secrets whose rotation is overdue"), a.overdue)
}

func (a *api) list(ctx context.Context, in *listInput) (*listOutput, error) {
	prefix, err := secret.ParsePrefix(in.Prefix)
	if err != nil {
		return nil, problemOf("", err)
	}
	var after secret.Path
	if in.After != "" {
		if after, err = parsePath(in.After); err != nil {
			return nil, err
		}
	}
	found, err := a.vault.List(ctx, callerOf(ctx), prefix, after, in.Limit)
	if err != nil {
		return nil, a.fail(ctx, "list "+in.Prefix, err)
	}
	out := sdk.SecretList{Items: make([]sdk.Metadata, len(found))}
	for i, m := range found {
		out.Items[i] = metadataOf(m)
	}
	if len(found) == in.Limit {
		out.Next = found[len(found)-1].Path.String()
	}
	return &listOutput{out}, nil
}

func (a *api) overdue(ctx context.Context, in *prefixInput) (*overdueOutput, error) {
	prefix, err := secret.ParsePrefix(in.Prefix)
	if err != nil {
		return nil, problemOf("", err)
	}
	found, err := a.vault.Overdue(ctx, callerOf(ctx), prefix)
	if err != nil {
		return nil, a.fail(ctx, "list what is overdue below "+in.Prefix, err)
	}
	out := sdk.OverdueList{Items: make([]sdk.Overdue, len(found))}
	for i, o := range found {
		out.Items[i] = sdk.Overdue{
			Path: o.Path.String(), Version: o.Version, RotateAfterDays: o.RotateAfterDays,
			RotatedAt: o.RotatedAt, DaysOverdue: o.DaysOverdue,
		}
	}
	return &overdueOutput{out}, nil
}

func (a *api) rotations(ctx context.Context, in *prefixInput) (*rotationOutput, error) {
	prefix, err := secret.ParsePrefix(in.Prefix)
	if err != nil {
		return nil, problemOf("", err)
	}
	found, err := a.vault.Rotations(ctx, callerOf(ctx), prefix)
	if err != nil {
		return nil, a.fail(ctx, "list when rotations are due below "+in.Prefix, err)
	}
	out := sdk.RotationList{Items: make([]sdk.Rotation, len(found))}
	for i, r := range found {
		out.Items[i] = sdk.Rotation{
			Path: r.Path.String(), Version: r.Version, RotateAfterDays: r.RotateAfterDays, RotatedAt: r.RotatedAt, DueAt: r.DueAt, Overdue: r.Overdue,
		}
	}
	return &rotationOutput{out}, nil
}
