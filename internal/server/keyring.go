package server

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	keyInput struct {
		ID uint32 `path:"id" format:"int64" doc:"Id of the key" example:"2843671337"`
	}
	keyringOutput  struct{ Body sdk.KeyringStatus }
	keyAddedOutput struct{ Body sdk.KeyringAdded }
	rewrapOutput   struct{ Body sdk.RewrapProgress }
)

func (a *api) registerKeyring(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/keyring", "getKeyring", "Describe the root key, the key-encryption keys and who has them"), a.keyring)
	huma.Register(h, operation(http.MethodPost, "/v1/keyring/keys", "addKey", "Make a key, to be promoted when every replica has it"), a.addKey)
	promote := operation(http.MethodPost, "/v1/keyring/keys/{id}/promote", "promoteKey", "Make a key the one that wraps what is written from now on")
	promote.DefaultStatus = http.StatusNoContent
	huma.Register(h, promote, a.promoteKey)
	retire := operation(http.MethodPost, "/v1/keyring/keys/{id}/retire", "retireKey", "Make a key one that is never promoted again")
	retire.DefaultStatus = http.StatusNoContent
	huma.Register(h, retire, a.retireKey)
	destroy := operation(http.MethodDelete, "/v1/keyring/keys/{id}", "destroyKey", "Remove a key that no version needs, for ever")
	destroy.Errors = append(destroy.Errors, http.StatusConflict)
	huma.Register(h, destroy, a.destroyKey)
	huma.Register(h, operation(http.MethodPost, "/v1/keyring/rewrap", "rewrap", "Wrap data keys anew under the primary key, for about two seconds"), a.rewrap)
}

func (a *api) keyring(ctx context.Context, _ *struct{}) (*keyringOutput, error) {
	status, err := a.vault.KeyringStatus(ctx, callerOf(ctx))
	if err != nil {
		return nil, a.fail(ctx, "describe the keyring", err)
	}
	out := sdk.KeyringStatus{
		Revision: status.Revision, Findings: status.Findings,
		Root: sdk.KeyringRoot{Kind: status.Root.Kind, KeyID: status.Root.KeyID, State: string(status.Root.State)},
		Keys: make([]sdk.KeyringKey, len(status.Keys)), Replicas: make([]sdk.KeyringReplica, len(status.Replicas)),
	}
	for i, k := range status.Keys {
		out.Keys[i] = sdk.KeyringKey{ID: uint32(k.ID), State: string(k.State), CreatedAt: k.CreatedAt, Versions: k.Versions}
	}
	for i, r := range status.Replicas {
		out.Replicas[i] = sdk.KeyringReplica{Name: r.Name, Revision: r.Revision, SeenAt: r.SeenAt}
	}
	return &keyringOutput{out}, nil
}

func (a *api) addKey(ctx context.Context, _ *struct{}) (*keyAddedOutput, error) {
	id, err := a.vault.AddKey(ctx, callerOf(ctx))
	if err != nil {
		return nil, a.fail(ctx, "add a key", err)
	}
	return &keyAddedOutput{sdk.KeyringAdded{ID: uint32(id)}}, nil
}

func (a *api) promoteKey(ctx context.Context, in *keyInput) (*struct{}, error) {
	if err := a.vault.PromoteKey(ctx, callerOf(ctx), vault.KeyID(in.ID)); err != nil {
		return nil, a.fail(ctx, fmt.Sprintf("promote key %d", in.ID), err)
	}
	return nil, nil
}

func (a *api) retireKey(ctx context.Context, in *keyInput) (*struct{}, error) {
	if err := a.vault.RetireKey(ctx, callerOf(ctx), vault.KeyID(in.ID)); err != nil {
		return nil, a.fail(ctx, fmt.Sprintf("retire key %d", in.ID), err)
	}
	return nil, nil
}

func (a *api) destroyKey(ctx context.Context, in *keyInput) (*struct{}, error) {
	if err := a.vault.DestroyKey(ctx, callerOf(ctx), vault.KeyID(in.ID)); err != nil {
		return nil, a.fail(ctx, fmt.Sprintf("destroy key %d", in.ID), err)
	}
	return nil, nil
}

func (a *api) rewrap(ctx context.Context, _ *struct{}) (*rewrapOutput, error) {
	progress, err := a.vault.Rewrap(ctx, callerOf(ctx))
	if err != nil {
		return nil, a.fail(ctx, "rewrap", err)
	}
	return &rewrapOutput{sdk.RewrapProgress{Rewrapped: progress.Rewrapped, Remaining: progress.Remaining, Failed: progress.Failed}}, nil
}
