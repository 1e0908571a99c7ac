package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	runRotationInput struct {
		Path string `query:"path" required:"true" doc:"Path of the secret" example:"production/payments/database"`
		Body sdk.RunRotationRequest
	}
	rotationsOutput      struct{ Body sdk.RotationStatusList }
	rotationStatusOutput struct{ Body sdk.RotationStatus }
	rotationRunOutput    struct{ Body sdk.RotationRun }
)

func (a *api) registerRotations(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/rotations", "listRotations", "List the rotations that are defined, and how they stand"), a.definedRotations)
	huma.Register(h, operation(http.MethodGet, "/v1/rotations/show", "showRotation", "Describe the rotation of a secret and its last runs"), a.showRotation)
	huma.Register(h, operation(http.MethodPost, "/v1/rotations/run", "runRotation", "Rotate a secret now, as its rotation is defined"), a.runRotation)
	huma.Register(h, operation(http.MethodPost, "/v1/rotations/approve", "approveRotation", "Let a rotation that waits for somebody go on"), a.approveRotation)
	huma.Register(h, operation(http.MethodPost, "/v1/rotations/cancel", "cancelRotation", "Roll a rotation back that is under way"), a.cancelRotation)
}

func (a *api) definedRotations(ctx context.Context, in *prefixInput) (*rotationsOutput, error) {
	prefix, err := secret.ParsePrefix(in.Prefix)
	if err != nil {
		return nil, problemOf("", err)
	}
	found, err := a.vault.DefinedRotations(ctx, callerOf(ctx), prefix)
	if err != nil {
		return nil, a.fail(ctx, "list the rotations below "+in.Prefix, err)
	}
	out := sdk.RotationStatusList{Items: make([]sdk.RotationStatus, len(found))}
	for i := range found {
		out.Items[i] = rotationListedOf(&found[i])
	}
	return &rotationsOutput{out}, nil
}

func (a *api) showRotation(ctx context.Context, in *pathInput) (*rotationStatusOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	status, history, err := a.vault.ShowRotation(ctx, callerOf(ctx), path)
	if err != nil {
		return nil, a.fail(ctx, "show the rotation of "+in.Path, err)
	}
	out := rotationStatusOf(&status)
	for i := range history {
		run := rotationRunOf(&history[i].Run)
		for _, s := range history[i].Steps {
			run.Steps = append(run.Steps, sdk.RotationStep{At: s.At, State: string(s.State), Detail: s.Detail})
		}
		out.Runs = append(out.Runs, run)
	}
	return &rotationStatusOutput{out}, nil
}

func (a *api) runRotation(ctx context.Context, in *runRotationInput) (*rotationRunOutput, error) {
	return a.changeRotation(ctx, "rotate", in.Path, func(path secret.Path) (rotation.Run, error) {
		return a.vault.RunRotation(ctx, callerOf(ctx), path, rotation.Request{RevokeOld: in.Body.RevokeOld})
	})
}

func (a *api) approveRotation(ctx context.Context, in *pathInput) (*rotationRunOutput, error) {
	return a.changeRotation(ctx, "approve the rotation of", in.Path, func(path secret.Path) (rotation.Run, error) {
		return a.vault.ApproveRotation(ctx, callerOf(ctx), path)
	})
}

func (a *api) cancelRotation(ctx context.Context, in *pathInput) (*rotationRunOutput, error) {
	return a.changeRotation(ctx, "cancel the rotation of", in.Path, func(path secret.Path) (rotation.Run, error) {
		return a.vault.CancelRotation(ctx, callerOf(ctx), path)
	})
}

func (a *api) changeRotation(ctx context.Context, verb, name string, change func(secret.Path) (rotation.Run, error)) (*rotationRunOutput, error) {
	path, err := parsePath(name)
	if err != nil {
		return nil, err
	}
	run, err := change(path)
	if err != nil {
		return nil, a.fail(ctx, verb+" "+name, err)
	}
	return &rotationRunOutput{rotationRunOf(&run)}, nil
}

// rotationListedOf is s with its newest run.
func rotationListedOf(s *vault.RotationStatus) sdk.RotationStatus {
	out := rotationStatusOf(s)
	if s.Newest != nil {
		out.Runs = append(out.Runs, rotationRunOf(s.Newest))
	}
	return out
}

// rotationStatusOf is s without its runs.
func rotationStatusOf(s *vault.RotationStatus) sdk.RotationStatus {
	d := &s.Definition
	return sdk.RotationStatus{
		Path: d.Path, Cluster: s.Cluster, Name: d.Name, Method: d.Method.Kind, Every: durationOf(d.Schedule.Every), Cron: d.Schedule.Cron,
		TimeZone: d.Schedule.TimeZone, Suspended: d.Suspended, Undefined: s.Undefined, Next: s.Next, OverdueSince: s.OverdueSince, Runs: []sdk.RotationRun{},
	}
}

// durationOf is empty for none.
func durationOf(d model.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func rotationRunOf(r *rotation.Run) sdk.RotationRun {
	return sdk.RotationRun{
		ID: r.ID, Cluster: r.Cluster, Name: r.Definition.Name, State: string(r.State), Ended: r.State.Ended(), WaitsFor: r.WaitsFor(), Cause: string(r.Cause), By: r.By, RevokeOld: r.RevokeOld,
		PlannedAt: r.PlannedAt, EnteredAt: r.EnteredAt, From: r.From, To: r.To, Consumers: r.Total, Moved: r.Moved,
		Attempts: r.Attempts, Problem: r.Problem, FailedIn: string(r.FailedIn), Reason: r.Reason,
	}
}
