package server_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// TestLeakOverTheAPI: the report, and what is done about it; a path that is not there and one that is denied give the same answer.
func TestLeakOverTheAPI(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	const path = "production/aws/key"
	admin, stranger := e.admin(t), e.account(t, "production")
	ctx, c := t.Context(), e.client(t, admin)
	_, err := c.Put(ctx, path, sdk.PutRequest{Value: []byte("v")})
	must(t, err)
	_, err = c.Get(ctx, path)
	must(t, err)
	if _, err := e.client(t, stranger).Get(ctx, path); sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
		t.Errorf("a stranger reads: %v", err)
	}
	must(t, e.Engine.Acknowledge(ctx, clusterName, []secret.Acknowledgement{{
		Kind: secret.ConsumerVaultSecret, Namespace: "payments", Name: "aws", UID: "u-1", State: "Synced",
		Sources: []secret.HeldVersion{{Path: vaulttest.Path(t, path), Version: 1}},
	}}))

	report, err := c.LeakReport(ctx, path, sdk.LeakQuery{Version: 1})
	must(t, err)
	reader := sdk.LeakReader{Kind: "ServiceAccount", Caller: admin.caller.String(), Cluster: clusterName, Namespace: admin.caller.Namespace, Via: sdk.ViaAPI, Versions: []int64{1}, Times: 1}
	refused := sdk.LeakReader{Kind: "ServiceAccount", Caller: stranger.caller.String(), Cluster: clusterName, Namespace: stranger.caller.Namespace, Via: sdk.ViaAPI, Action: "read", Times: 1}
	for what, pair := range map[string][2][]sdk.LeakReader{"readers": {{reader}, report.Readers}, "refused": {{refused}, report.Refused}} {
		if diff := cmp.Diff(pair[0], pair[1], cmpopts.IgnoreFields(sdk.LeakReader{}, "Environment", "FirstAt", "LastAt", "Addresses")); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}
	if len(report.Holders) != 2 || report.Holders[0].Name != "aws" || report.Current != 1 || report.Rotation != nil || report.WrittenBy != admin.caller.String() || len(report.Readers[0].Addresses) != 1 {
		t.Errorf("report %+v", report)
	}
	if done, err := c.Leak(ctx, path, sdk.LeakRequest{Reason: "in a log"}); err != nil || done.Run != nil {
		t.Errorf("without a rotation: %+v, %v", done, err)
	}

	_, err = e.Engine.ReplaceRotations(ctx, clusterName, []rotation.Definition{{
		Name: "aws", As: rotation.Identity{Namespace: admin.caller.Namespace, ServiceAccount: admin.caller.Name},
		Spec: rotation.Spec{Path: path, Method: rotation.Method{Kind: "password"}},
	}})
	must(t, err)
	done, err := c.Leak(ctx, path, sdk.LeakRequest{Version: 1})
	if err != nil || done.Run == nil || done.Run.State != "planned" || !done.Run.RevokeOld {
		t.Errorf("with one: %+v, %v", done, err)
	}
	report, err = c.LeakReport(ctx, path, sdk.LeakQuery{})
	if err != nil || report.Rotation == nil || len(report.Rotation.Runs) != 1 || report.Rotation.Runs[0].ID != done.Run.ID {
		t.Errorf("it tells of the rotation %+v, %v", report.Rotation, err)
	}

	e.Allow(t, stranger.caller, "production/**", policy.Audit)
	if _, err := e.client(t, stranger).LeakReport(ctx, path, sdk.LeakQuery{}); err != nil {
		t.Errorf("who may audit: %v", err)
	}
	other := e.client(t, e.account(t, ""))
	for what, err := range map[string]error{
		"report by a stranger":      second(other.LeakReport(ctx, path, sdk.LeakQuery{})),
		"report of what is not":     second(c.LeakReport(ctx, "production/none", sdk.LeakQuery{})),
		"leak by who may not":       second(e.client(t, stranger).Leak(ctx, path, sdk.LeakRequest{})),
		"leak of what is not there": second(c.Leak(ctx, "production/none", sdk.LeakRequest{})),
	} {
		if sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.LeakReport(ctx, path, sdk.LeakQuery{Version: 9}); sdk.CodeOf(err) != sdk.CodeVersionNotFound {
		t.Errorf("a version that is not: %v", err)
	}
}
