package vault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestForgetConsumers: of one cluster and all paths, so that nobody waits for them; its operator, when it is there all the same, tells
// anew; and who has no right to it, or names the cluster that is asked, changes nothing.
func TestForgetConsumers(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	keeper := vaulttest.ServiceAccount("security", "keeper", "")
	other := vaulttest.ServiceAccount("web", "api", "")
	env.Allow(t, keeper, "sys/consumers", policy.Delete)
	env.AllowAll(t, other, "**")
	acknowledge := func(cluster string) {
		t.Helper()
		must(t, env.Engine.AcknowledgeAll(t.Context(), cluster, nil, []secret.Acknowledgement{
			vaultSecret(t, "x", "Synced", 2, 2, "p/a", 1, "p/b", 3), vaultSecret(t, "y", "Synced", 0, 0, "p/a", 1),
		}))
	}
	acknowledge("gone")
	acknowledge("here")
	before := consumerRows(t, env)
	forget := func(caller secret.Caller, cluster string, dryRun bool) (vault.ForgottenConsumers, error) {
		return env.Engine.ForgetConsumers(t.Context(), caller, cluster, dryRun)
	}
	for name, test := range map[string]struct {
		caller  secret.Caller
		cluster string
		want    error
	}{
		"who may do all but this": {other, "gone", secret.ErrDenied},
		"no cluster":              {keeper, "", secret.ErrInvalid},
		"a cluster that is none":  {keeper, strings.Repeat("c", 254), secret.ErrInvalid},
		"the cluster it asks in":  {keeper, keeper.Cluster, secret.ErrInvalid},
	} {
		if got, err := forget(test.caller, test.cluster, false); !errors.Is(err, test.want) || got != (vault.ForgottenConsumers{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	want := vault.ForgottenConsumers{Consumers: 2, Paths: 2}
	seenAt := cmpopts.IgnoreFields(vault.ForgottenConsumers{}, "SeenAt")
	if got, err := forget(keeper, "gone", true); err != nil || cmp.Diff(want, got, seenAt) != "" || got.SeenAt.IsZero() {
		t.Errorf("dry run: %+v, %v", got, err)
	}
	if after := consumerRows(t, env); after != before {
		t.Errorf("written:\n%s\nbefore:\n%s", after, before)
	}

	if got, err := forget(keeper, "gone", false); err != nil || cmp.Diff(want, got, seenAt) != "" {
		t.Errorf("%+v, %v", got, err)
	}
	wantConsumers(t, env.Engine, env.Admin, "p/a", holder("here", "x", "Synced", 1, 2, 2), holder("here", "y", "Synced", 1, 0, 0))
	if got, err := forget(keeper, "gone", false); err != nil || got != (vault.ForgottenConsumers{}) {
		t.Errorf("again: %+v, %v", got, err)
	}
	entries, _, err := env.Engine.Audit(t.Context(), env.Admin, audit.Query{Action: audit.ConsumersForget, Decision: audit.Allowed, Limit: 10})
	must(t, err)
	var rules []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Rule, "forgot ") {
			rules = append(rules, entry.Caller+" "+entry.Path+": "+entry.Rule)
		}
	}
	if diff := cmp.Diff([]string{`security/keeper sys/consumers: forgot 2 consumers of 2 paths in cluster "gone"`}, rules); diff != "" {
		t.Errorf("audited (-want +got)\n%s", diff)
	}
	acknowledge("gone")
	if moved, err := env.Engine.ConsumersMoved(t.Context(), vaulttest.Path(t, "p/a"), 1); err != nil || moved.Total != 4 {
		t.Errorf("acknowledged anew: %+v, %v", moved, err)
	}
}

// TestForgetWhatWasChanged: rows that somebody changed block all questions about their path until the cluster's operator puts them
// right, which one that is gone does not.
func TestForgetWhatWasChanged(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	keeper := vaulttest.ServiceAccount("security", "keeper", "")
	env.Allow(t, keeper, "sys/consumers", policy.Delete)
	must(t, env.Engine.AcknowledgeAll(t.Context(), "gone", nil, []secret.Acknowledgement{vaultSecret(t, "x", "Synced", 2, 2, "p/a", 1)}))
	_, err := connect(t, env).Exec(t.Context(), `UPDATE consumers SET version = 2`)
	must(t, err)
	if _, err := env.Engine.Consumers(t.Context(), env.Admin, vaulttest.Path(t, "p/a")); !errors.Is(err, secret.ErrTampered) {
		t.Fatalf("before: %v", err)
	}
	if got, err := env.Engine.ForgetConsumers(t.Context(), keeper, "gone", false); err != nil || got.Consumers != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	wantConsumers(t, env.Engine, env.Admin, "p/a")
	entries, _, err := env.Engine.Audit(t.Context(), env.Admin, audit.Query{Action: audit.ConsumersForget, Decision: audit.Failed, Limit: 10})
	if err != nil || len(entries) != 1 || !strings.HasSuffix(entries[0].Rule, " and are removed") {
		t.Errorf("audited %+v, %v", entries, err)
	}
}
