package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	consumersOutput struct{ Body sdk.ConsumerList }
	forgetInput     struct{ Body sdk.ForgetConsumersRequest }
	forgottenOutput struct{ Body sdk.ForgottenConsumers }
)

func (a *api) registerConsumers(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/consumers", "listConsumers", "List who has which version of a secret"), a.consumers)
	huma.Register(h, operation(http.MethodPost, "/v1/consumers/forget", "forgetConsumers", "Forget who has which version in a cluster that is no more"), a.forgetConsumers)
}

func (a *api) consumers(ctx context.Context, in *pathInput) (*consumersOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	found, err := a.vault.Consumers(ctx, callerOf(ctx), path)
	if err != nil {
		return nil, a.fail(ctx, "list the consumers of "+in.Path, err)
	}
	out := sdk.ConsumerList{Items: make([]sdk.Consumer, len(found))}
	for i, c := range found {
		out.Items[i] = consumerOf(c)
	}
	return &consumersOutput{out}, nil
}

func consumerOf(c secret.Consumer) sdk.Consumer {
	return sdk.Consumer{
		Kind: string(c.Kind), Cluster: c.Cluster, Namespace: c.Namespace, Name: c.Name, UID: c.UID, Version: c.Version,
		Workloads: c.Workloads, RolledOut: c.Rolled, State: c.State, Since: c.Since, SeenAt: c.SeenAt,
	}
}

func (a *api) forgetConsumers(ctx context.Context, in *forgetInput) (*forgottenOutput, error) {
	forgotten, err := a.vault.ForgetConsumers(ctx, callerOf(ctx), in.Body.Cluster, in.Body.DryRun)
	if err != nil {
		return nil, a.fail(ctx, "forget consumers", err)
	}
	return &forgottenOutput{sdk.ForgottenConsumers{Consumers: forgotten.Consumers, Paths: forgotten.Paths, SeenAt: forgotten.SeenAt}}, nil
}
