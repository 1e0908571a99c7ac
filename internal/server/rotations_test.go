package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

func TestRotationsOverTheAPI(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	const path = "production/payments/database"
	ctx, admin := t.Context(), e.admin(t)
	c := e.client(t, admin)
	written, err := c.Put(ctx, path, sdk.PutRequest{Value: []byte("v")})
	must(t, err)
	if _, err := c.RunRotation(ctx, path, sdk.RunRotationRequest{}); sdk.CodeOf(err) != sdk.CodeInvalid || !strings.Contains(err.Error(), "no rotation is defined for the path") {
		t.Errorf("run without one: %v", err)
	}
	_, err = e.Engine.ReplaceRotations(ctx, clusterName, []rotation.Definition{{
		Name: "payments/database", As: rotation.Identity{Namespace: admin.caller.Namespace, ServiceAccount: admin.caller.Name},
		Spec: rotation.Spec{
			Path: path, Method: rotation.Method{Kind: "password"},
			Schedule: schedule.Spec{Every: model.Duration(30 * 24 * time.Hour), TimeZone: "Europe/Berlin"},
		},
	}})
	must(t, err)
	want := sdk.RotationStatus{
		Path: path, Cluster: clusterName, Name: "payments/database", Method: "password", Every: "30d", TimeZone: "Europe/Berlin",
		Next: written.CreatedAt.Add(30 * 24 * time.Hour), Runs: []sdk.RotationRun{},
	}
	listed, err := c.DefinedRotations(ctx, "production/")
	must(t, err)
	if diff := cmp.Diff([]sdk.RotationStatus{want}, listed); diff != "" {
		t.Errorf("listed (-want +got)\n%s", diff)
	}
	if listed, err = c.DefinedRotations(ctx, "staging/"); err != nil || len(listed) != 0 {
		t.Errorf("below another prefix: %+v, %v", listed, err)
	}

	run, err := c.RunRotation(ctx, path, sdk.RunRotationRequest{RevokeOld: true})
	if err != nil || run.State != "planned" || !run.RevokeOld || run.By != admin.caller.String() || run.Cause != "hand" {
		t.Errorf("run: %+v, %v", run, err)
	}
	if _, err := c.RunRotation(ctx, path, sdk.RunRotationRequest{}); sdk.CodeOf(err) != sdk.CodeConflict {
		t.Errorf("run again: %v", err)
	}
	if _, err := c.ApproveRotation(ctx, path); sdk.CodeOf(err) != sdk.CodeConflict || !strings.Contains(err.Error(), "it is planned and waits for nobody's approval") {
		t.Errorf("approve: %v", err)
	}
	if _, err := c.CancelRotation(ctx, path); err != nil {
		t.Errorf("cancel: %v", err)
	}
	goOn(t, e.Engine)
	shown, err := c.ShowRotation(ctx, path)
	must(t, err)
	if len(shown.Runs) != 1 || shown.Runs[0].ID != run.ID || shown.Runs[0].State != "failed" || shown.Runs[0].Reason != "cancelled by "+admin.caller.String() || shown.Runs[0].FailedIn != "planned" {
		t.Errorf("shown: %+v", shown)
	}
	var steps []string
	for _, s := range shown.Runs[0].Steps {
		steps = append(steps, s.State+": "+s.Detail)
	}
	by := admin.caller.String()
	if diff := cmp.Diff([]string{"planned: asked for by " + by, "planned: rotation-cancel by " + by, "failed: cancelled by " + by}, steps); diff != "" {
		t.Errorf("steps (-want +got)\n%s", diff)
	}
	stranger := e.client(t, e.account(t, ""))
	for what, err := range map[string]error{
		"show": second(stranger.ShowRotation(ctx, path)), "run": second(stranger.RunRotation(ctx, path, sdk.RunRotationRequest{})),
		"approve": second(stranger.ApproveRotation(ctx, path)), "cancel": second(stranger.CancelRotation(ctx, path)),
	} {
		if sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
			t.Errorf("%s by a stranger: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// goOn takes the next action of the run, which nobody else does here.
func goOn(t *testing.T, engine *vault.Engine) {
	t.Helper()
	claimed, err := engine.ClaimRotation(t.Context(), time.Minute)
	must(t, err)
	if claimed == nil {
		t.Fatal("no run is to go on")
	}
	_, err = engine.AdvanceRotation(t.Context(), claimed, vault.RotationProgress{Pace: rotation.UsualPace(), Lease: time.Minute})
	must(t, err)
}
