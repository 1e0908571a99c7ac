package server

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	leakReportInput struct {
		Path    string    `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Version int64     `query:"version" minimum:"0" doc:"Version that is leaked; when absent the current one or, with since, all"`
		Since   time.Time `query:"since" doc:"From when on reads count; when absent, since the version was written"`
	}
	leakInput struct {
		Path string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Body sdk.LeakRequest
	}
	leakReportOutput struct{ Body sdk.LeakReport }
	leakOutput       struct{ Body sdk.LeakResponse }
)

func (a *api) registerLeaks(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/leak", "reportLeak", "Tell who had a version of a secret, and who has it still"), a.leakReport)
	huma.Register(h, operation(http.MethodPost, "/v1/leak", "leak", "Say that a version of a secret is leaked, and have its rotation replace it"), a.leak)
}

func (a *api) leakReport(ctx context.Context, in *leakReportInput) (*leakReportOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	found, err := a.vault.LeakReport(ctx, callerOf(ctx), vault.LeakQuery{Path: path, Version: in.Version, Since: in.Since})
	if err != nil {
		return nil, a.fail(ctx, "tell who had "+in.Path, err)
	}
	return &leakReportOutput{leakReportOf(&found)}, nil
}

func leakReportOf(r *vault.LeakReport) sdk.LeakReport {
	out := sdk.LeakReport{
		Path: r.Path.String(), Current: r.Current, Version: r.Version, WrittenAt: r.WrittenAt, WrittenBy: r.WrittenBy, Since: r.Since, CompleteSince: r.CompleteSince,
		Readers: leakReadersOf(r.Readers), Refused: leakReadersOf(r.Refused), Holders: make([]sdk.Consumer, len(r.Holders)), HoldersProblem: r.HoldersProblem,
		Changed: r.Changed, Unchained: r.Unchained, RotationProblem: r.RotationProblem,
	}
	for i, c := range r.Holders {
		out.Holders[i] = consumerOf(c)
	}
	if r.Rotation != nil {
		out.Rotation = new(rotationListedOf(r.Rotation))
	}
	return out
}

func leakReadersOf(readers []vault.LeakReader) []sdk.LeakReader {
	out := make([]sdk.LeakReader, len(readers))
	for i := range readers {
		r := &readers[i]
		out[i] = sdk.LeakReader{
			Kind: r.Kind, Caller: r.Caller, Cluster: r.Cluster, Namespace: r.Namespace, Environment: r.Environment, Via: string(r.Via), Action: string(r.Action),
			Versions: r.Versions, Times: r.Times, FirstAt: r.FirstAt, LastAt: r.LastAt, Addresses: r.Addresses,
		}
	}
	return out
}

func (a *api) leak(ctx context.Context, in *leakInput) (*leakOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	run, err := a.vault.Leak(ctx, callerOf(ctx), path, in.Body.Version, in.Body.Reason)
	if err != nil {
		return nil, a.fail(ctx, "replace what is leaked of "+in.Path, err)
	}
	out := sdk.LeakResponse{}
	if run != nil {
		out.Run = new(rotationRunOf(run))
	}
	return &leakOutput{out}, nil
}
