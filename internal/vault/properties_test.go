package vault_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestAnyTextComesBack: whatever text stands beside a value comes back as it was
// and verifies, also where Postgres stores it in a form of its own.
func TestAnyTextComesBack(t *testing.T) {
	env := vaulttest.Start(t)
	runs := 0
	text := rapid.StringN(0, 20, 100).Filter(func(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") })
	name := text.Filter(func(s string) bool { return s != "" })
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		req := secret.PutRequest{
			Path: vaulttest.Path(t, fmt.Sprintf("run/%d", runs)), Description: new(text.Draw(rt, "description")),
			Tags: rapid.MapOfN(name, text, 0, 3).Draw(rt, "tags"),
			Access: &secret.AccessPolicy{
				AllowedServices:     rapid.SliceOfN(rapid.SampledFrom([]string{"*", "a/*", "a/b", "b/c"}), 0, 3).Draw(rt, "services"),
				AllowedEnvironments: rapid.SliceOfN(name, 0, 3).Draw(rt, "environments"),
			},
		}
		if _, err := env.Engine.Put(t.Context(), env.Admin, req); err != nil {
			rt.Fatal(err)
		}
		got, err := env.Engine.Metadata(t.Context(), env.Admin, req.Path)
		if err != nil {
			rt.Fatal(err)
		}
		want := secret.Metadata{Path: req.Path, Version: 1, Description: *req.Description, Tags: req.Tags, Access: *req.Access, Labels: []secret.Label{secret.Current}, CreatedBy: "user:admin"}
		if diff := cmp.Diff(want, got, ignoreMoment, cmp.AllowUnexported(secret.Path{}), cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("metadata (-want +got):\n%s", diff)
		}
	})
}

func TestMetricsNameNoPath(t *testing.T) {
	env := vaulttest.Start(t)
	env.Sync(t, "default")
	registry := prometheus.NewRegistry()
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{DatabaseURL: env.DSN, RedisURL: env.RedisURL, Root: env.Root, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	closeOnce := sync.OnceFunc(closeEngine)
	t.Cleanup(closeOnce)
	if _, err := engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "canary-path/x")}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantRead(t, engine, env.Admin, ref(t, "canary-path/x", 0), "")
	}
	_, err = read(t, engine, vaulttest.ServiceAccount("a", "b", ""), ref(t, "canary-path/x", 0))
	wantError(t, err, secret.ErrDenied)
	remember(t, env, "canary-path/old", 1)
	must(t, engine.CountOverdue(t.Context()))
	closeOnce() // what was to be announced now is
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			got[family.GetName()+" "+strings.Join(labels, " ")] = true
		}
	}
	want := map[string]bool{
		"coffer_engine_announcements_total ok": true, "coffer_engine_cache_reads_total redis hit": true, "coffer_engine_cache_reads_total redis miss": true,
		"coffer_engine_database_statements_total ": true,
		"coffer_audit_flush_entries ":              true, "coffer_audit_flush_seconds ": true, "coffer_audit_queue_entries ": true,
		"coffer_audit_verified_timestamp_seconds ": true, "coffer_audit_findings ": true, "coffer_audit_database_older ": true,
		"coffer_audit_months_missing ": true, "coffer_audit_retention_refused ": true, "coffer_audit_role_may_erase ": true, "coffer_audit_tail_waiting_rows ": true,
		"coffer_engine_operation_seconds put ok": true, "coffer_engine_operation_seconds read ok": true, "coffer_engine_operation_seconds read denied": true,
		"coffer_keyring_revision ": true, "coffer_keyring_rewrapped_versions_total ": true,
		"coffer_changes_delivery_seconds ": true, "coffer_changes_lag_seconds ": true,
		"coffer_rotation_overdue_seconds ": true, "coffer_rotation_runs_waiting ": true,
		"coffer_secrets_overdue reminder": true, "coffer_secrets_overdue rotation": true,
		"coffer_secret_overdue_seconds reminder": true, "coffer_secret_overdue_seconds rotation": true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
}

// TestNothingKeepsRunning: a follower and an engine that ended leave no goroutine.
func TestNothingKeepsRunning(t *testing.T) {
	env := vaulttest.Start(t)
	env.Put(t, "a/b", "v")
	before := goleak.IgnoreCurrent()
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
		DatabaseURL: env.DSN, RedisURL: env.RedisURL, Root: env.Root, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
	ctx, cancel := context.WithCancel(t.Context())
	err = engine.Follow(ctx, func(context.Context, []changes.Change) error { cancel(); return nil })
	if err != nil {
		t.Error(err)
	}
	closeEngine()
	goleak.VerifyNone(t, before)
}
