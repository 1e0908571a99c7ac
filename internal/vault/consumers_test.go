package vault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// vaultSecret is what an operator acknowledges of payments/name: versions are a path and a
// number, in turn.
func vaultSecret(t testing.TB, name, state string, rolled, workloads int, versions ...any) secret.Acknowledgement {
	t.Helper()
	a := secret.Acknowledgement{
		Kind: secret.ConsumerVaultSecret, Namespace: "payments", Name: name, UID: "uid-" + name, Rolled: rolled, Workloads: workloads, State: state,
	}
	for i := 0; i < len(versions); i += 2 {
		a.Sources = append(a.Sources, secret.HeldVersion{Path: vaulttest.Path(t, versions[i].(string)), Version: int64(versions[i+1].(int))})
	}
	return a
}

// wantConsumers compares all but the times.
func wantConsumers(t testing.TB, e *vault.Engine, caller secret.Caller, path string, want ...secret.Consumer) {
	t.Helper()
	got, err := e.Consumers(t.Context(), caller, vaulttest.Path(t, path))
	if err != nil {
		t.Errorf("consumers of %s: %v", path, err)
		return
	}
	times := cmpopts.IgnoreFields(secret.Consumer{}, "Since", "SeenAt")
	if diff := cmp.Diff(want, got, times, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("consumers of %s (-want +got):\n%s", path, diff)
	}
}

// holder is a consumer as vaultSecret has it.
func holder(cluster, name, state string, version int64, rolled, workloads int) secret.Consumer {
	return secret.Consumer{
		Kind: secret.ConsumerVaultSecret, Cluster: cluster, Namespace: "payments", Name: name, UID: "uid-" + name,
		Version: version, Rolled: rolled, Workloads: workloads, State: state,
	}
}

// TestConsumersAreWhoAcknowledged: of each path who has it, in all clusters; what a
// consumer does not name any more it has not; and others stay as they are.
func TestConsumersAreWhoAcknowledged(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	env.Put(t, "p/b", "v")
	acknowledge := func(cluster string, batch ...secret.Acknowledgement) {
		t.Helper()
		must(t, env.Engine.Acknowledge(t.Context(), cluster, batch))
	}
	acknowledge("one", vaultSecret(t, "x", "Synced", 2, 2, "p/a", 1, "p/b", 3), vaultSecret(t, "y", "RollingOut", 1, 3, "p/a", 2))
	acknowledge("two", vaultSecret(t, "x", "Suspended", 0, 0, "p/a", 4))
	wantConsumers(t, env.Engine, env.Admin, "p/a",
		holder("one", "x", "Synced", 1, 2, 2), holder("one", "y", "RollingOut", 2, 1, 3), holder("two", "x", "Suspended", 4, 0, 0))
	wantConsumers(t, env.Engine, env.Admin, "p/b", holder("one", "x", "Synced", 3, 2, 2))

	acknowledge("one", vaultSecret(t, "x", "Synced", 0, 0, "p/b", 4), vaultSecret(t, "y", "Synced", 3, 3, "p/a", 2, "p/a", 1))
	wantConsumers(t, env.Engine, env.Admin, "p/a", holder("one", "y", "Synced", 1, 3, 3), holder("two", "x", "Suspended", 4, 0, 0))
	wantConsumers(t, env.Engine, env.Admin, "p/b", holder("one", "x", "Synced", 4, 0, 0))

	acknowledge("one", vaultSecret(t, "x", "", 0, 0), vaultSecret(t, "y", "", 0, 0))
	wantConsumers(t, env.Engine, env.Admin, "p/a", holder("two", "x", "Suspended", 4, 0, 0))
	wantConsumers(t, env.Engine, env.Admin, "p/b")
}

// TestAcknowledgeAllRemovesOthers of the namespaces that it is about, in that cluster.
func TestAcknowledgeAllRemovesOthers(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	elsewhere := vaultSecret(t, "w", "Synced", 0, 0, "p/a", 1)
	elsewhere.Namespace = "orders"
	must(t, env.Engine.AcknowledgeAll(t.Context(), "two", nil, []secret.Acknowledgement{vaultSecret(t, "x", "Synced", 0, 0, "p/a", 1)}))
	must(t, env.Engine.AcknowledgeAll(t.Context(), "one", nil, []secret.Acknowledgement{
		vaultSecret(t, "x", "Synced", 0, 0, "p/a", 1), vaultSecret(t, "y", "Synced", 0, 0, "p/a", 1), elsewhere,
	}))
	must(t, env.Engine.AcknowledgeAll(t.Context(), "one", []string{"payments", "web"}, []secret.Acknowledgement{vaultSecret(t, "y", "Synced", 0, 0, "p/a", 1)}))
	stays := holder("one", "w", "Synced", 1, 0, 0)
	stays.Namespace = "orders"
	wantConsumers(t, env.Engine, env.Admin, "p/a", stays, holder("one", "y", "Synced", 1, 0, 0), holder("two", "x", "Synced", 1, 0, 0))
	must(t, env.Engine.AcknowledgeAll(t.Context(), "one", nil, nil))
	wantConsumers(t, env.Engine, env.Admin, "p/a", holder("two", "x", "Synced", 1, 0, 0))
}

// consumerRows is all that is stored of consumers, the times and the revision too.
func consumerRows(t testing.TB, env *vaulttest.Env) (rows string) {
	t.Helper()
	must(t, connect(t, env).QueryRow(t.Context(), `SELECT coalesce(string_agg(r, E'\n' ORDER BY r), '') FROM (
		SELECT xmin::text || c::text AS r FROM consumers c UNION ALL SELECT xmin::text || s::text FROM consumer_sets s) AS rows`).Scan(&rows))
	return rows
}

// TestAcknowledgingTheSameWritesNothing, and a row whose state is the same keeps since when.
func TestAcknowledgingTheSameWritesNothing(t *testing.T) {
	clock := &setClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	env.Put(t, "p/a", "v")
	began := clock.Now()
	all := []secret.Acknowledgement{vaultSecret(t, "x", "RollingOut", 0, 2, "p/a", 1), vaultSecret(t, "y", "Synced", 0, 0, "p/a", 1)}
	must(t, env.Engine.Acknowledge(t.Context(), "one", all))
	before := consumerRows(t, env)
	clock.Set(began.Add(time.Minute))
	must(t, env.Engine.Acknowledge(t.Context(), "one", all))
	must(t, env.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{vaultSecret(t, "unknown", "Denied", 0, 0)}))
	must(t, env.Engine.AcknowledgeAll(t.Context(), "one", nil, all))
	if after := consumerRows(t, env); after != before {
		t.Errorf("written although nothing differs:\n%s\nnow\n%s", before, after)
	}
	for _, step := range []struct {
		state  string
		rolled int
		since  time.Time
	}{{"RollingOut", 1, began}, {"Synced", 2, began.Add(time.Minute)}} {
		must(t, env.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{vaultSecret(t, "x", step.state, step.rolled, 2, "p/a", 1)}))
		found, err := env.Engine.Consumers(t.Context(), env.Admin, vaulttest.Path(t, "p/a"))
		must(t, err)
		if got := found[0]; !got.Since.Equal(step.since) || !got.SeenAt.Equal(clock.Now()) {
			t.Errorf("%s with %d rolled: since %v, seen at %v; want since %v", step.state, step.rolled, got.Since, got.SeenAt, step.since)
		}
	}
}

// TestChangedAcknowledgementsAreNoticed: nothing is said or concluded, nor built upon,
// until all are acknowledged anew.
func TestChangedAcknowledgementsAreNoticed(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	env.Put(t, "p/b", "v")
	all := []secret.Acknowledgement{vaultSecret(t, "x", "Synced", 0, 0, "p/a", 1), vaultSecret(t, "y", "Synced", 0, 0, "p/a", 1, "p/b", 1)}
	must(t, env.Engine.AcknowledgeAll(t.Context(), "one", nil, all))
	exec(t, env, `CREATE TABLE former AS SELECT * FROM consumers`)
	must(t, env.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{vaultSecret(t, "x", "Synced", 0, 0, "p/a", 2)}))
	all[0].Sources[0].Version = 2
	for what, edit := range map[string]string{
		"removed":                       `DELETE FROM consumers WHERE name = 'x'`,
		"all removed":                   `DELETE FROM consumers`,
		"changed":                       `UPDATE consumers SET version = 9 WHERE name = 'x'`,
		"moved to another path":         `UPDATE consumers SET path = 'p/z' WHERE name = 'x'`,
		"moved to another cluster":      `UPDATE consumers SET cluster = 'none' WHERE name = 'x'`,
		"one from before put back":      `UPDATE consumers c SET version = f.version, since = f.since, seen_at = f.seen_at, mac = f.mac FROM former f WHERE c.name = 'x' AND f.name = 'x'`,
		"one put in beside the others":  `INSERT INTO consumers SELECT cluster, kind, namespace, 'z', path, uid, version, workloads, rolled, state, since, seen_at, mac FROM consumers WHERE name = 'x'`,
		"the row of the set is removed": `DELETE FROM consumer_sets`,
		"the row of the set is changed": `UPDATE consumer_sets SET revision = revision + 1`,
	} {
		exec(t, env, edit)
		paths, built := []string{"p/a", "p/b"}, "y" // a row less is noticed wherever it was
		if what == "changed" {                      // and a changed one where it counts
			paths, built = paths[:1], "x"
		}
		for _, path := range paths {
			_, err := env.Engine.Consumers(t.Context(), env.Admin, vaulttest.Path(t, path))
			wantError(t, err, secret.ErrTampered)
			_, err = env.Engine.ConsumersMoved(t.Context(), vaulttest.Path(t, path), 1)
			wantError(t, err, secret.ErrTampered)
		}
		wantError(t, env.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{vaultSecret(t, built, "Synced", 0, 0, "p/a", 3)}), secret.ErrTampered)
		if t.Failed() {
			t.Fatal(what)
		}
		for _, cluster := range []string{"one", "none"} {
			of := all
			if cluster == "none" {
				of = nil
			}
			must(t, env.Engine.AcknowledgeAll(t.Context(), cluster, nil, of))
		}
		wantConsumers(t, env.Engine, env.Admin, "p/a", holder("one", "x", "Synced", 2, 0, 0), holder("one", "y", "Synced", 1, 0, 0))
		wantConsumers(t, env.Engine, env.Admin, "p/b", holder("one", "y", "Synced", 1, 0, 0))
		if t.Failed() {
			t.Fatal(what)
		}
	}
	if rows := auditRows(t, env, `WHERE action = 'acknowledge'`); len(rows) == 0 || rows[0].Decision != audit.Failed || !strings.Contains(rows[0].Rule, "are replaced") {
		t.Errorf("the audit log says of it: %+v", rows)
	}
}

// TestAcknowledgementsThatCannotBeAreRefused with what is wrong.
func TestAcknowledgementsThatCannotBeAreRefused(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	for want, change := range map[string]func(*secret.Acknowledgement){
		"has no kind or no name":          func(a *secret.Acknowledgement) { a.Name = "" },
		"3 of 2 workloads":                func(a *secret.Acknowledgement) { a.Rolled, a.Workloads = 3, 2 },
		"versions count from 1":           func(a *secret.Acknowledgement) { a.Sources[0].Version = 0 },
		"a consumer's state has 65 bytes": func(a *secret.Acknowledgement) { a.State = strings.Repeat("x", 65) },
		"a consumer's UID is not text":    func(a *secret.Acknowledgement) { a.UID = "\xff" },
	} {
		a := vaultSecret(t, "x", "Synced", 0, 0, "p/a", 1)
		change(&a)
		err := env.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{a})
		wantError(t, err, secret.ErrInvalid)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	wantError(t, env.Engine.Acknowledge(t.Context(), "", nil), secret.ErrInvalid)
}

// TestWhoMayAskForConsumers: with audit or rotate on the path; to others it does not exist,
// nor does a path that is not there.
func TestWhoMayAskForConsumers(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	for _, c := range policy.Capabilities() {
		caller := env.Admin
		caller.Cluster, caller.Name = "default", "has-"+string(c)
		env.Allow(t, caller, "**", c)
		_, err := env.Engine.Consumers(t.Context(), caller, vaulttest.Path(t, "p/a"))
		if may := c == policy.Audit || c == policy.Rotate; may != (err == nil) {
			t.Errorf("with %s: %v", c, err)
		}
		if _, missing := env.Engine.Consumers(t.Context(), caller, vaulttest.Path(t, "p/b")); err != nil && missing != nil {
			wantError(t, err, secret.ErrDenied)
			if strings.ReplaceAll(missing.Error(), "p/b", "p/a") != err.Error() {
				t.Errorf("a path that is missing and one that is denied can be told apart: %v, %v", missing, err)
			}
		} else {
			wantError(t, missing, secret.ErrDenied)
		}
	}
	if got := lastAudit(t, env); got.Action != audit.Consumers || got.Decision != audit.Denied {
		t.Errorf("audited as %+v", got)
	}
}

// TestConsumersMoved says who has not moved on, and why; who has two versions is one.
func TestConsumersMoved(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	must(t, env.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{
		vaultSecret(t, "done", "Synced", 2, 2, "p/a", 2), vaultSecret(t, "newer", "Synced", 0, 0, "p/a", 3), vaultSecret(t, "old", "VaultUnavailable", 1, 1, "p/a", 1),
		vaultSecret(t, "rolling", "RollingOut", 1, 3, "p/a", 2),
	}))
	env.Put(t, "p/a", "w")
	api := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, api, "p/**")
	for _, version := range []int64{1, 2} {
		_, err := read(t, env.Engine, api, ref(t, "p/a", version))
		must(t, err)
	}
	got, err := env.Engine.ConsumersMoved(t.Context(), vaulttest.Path(t, "p/a"), 2)
	must(t, err)
	why := map[string]string{}
	for _, behind := range got.Behind {
		why[behind.String()] = behind.Why
	}
	want := map[string]string{
		"VaultSecret payments/old in cluster one":        "it has version 1 (VaultUnavailable)",
		"VaultSecret payments/rolling in cluster one":    "1 of 3 workloads run with version 2 (RollingOut)",
		"ServiceAccount payments/api in cluster default": "it has version 1 (Cached)",
	}
	if diff := cmp.Diff(want, why); diff != "" || got.Total != 5 || got.Moved != 2 {
		t.Errorf("%d of %d moved, want 2 of 5; and (-want +got):\n%s", got.Moved, got.Total, diff)
	}
}

// TestConsumersBack says who has not gone back from a newer version: not who has an older one, and who read the newer one lately enough for its
// cache to have it.
func TestConsumersBack(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	env.Put(t, "p/a", "w")
	env.Put(t, "p/a", "x")
	must(t, env.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{
		vaultSecret(t, "back", "Synced", 2, 2, "p/a", 2), vaultSecret(t, "pinned", "Synced", 0, 0, "p/a", 1), vaultSecret(t, "newer", "VaultUnavailable", 1, 1, "p/a", 3),
		vaultSecret(t, "rolling", "RollingOut", 1, 3, "p/a", 2),
	}))
	api := vaulttest.ServiceAccount("payments", "api", "production")
	env.AllowAll(t, api, "p/**")
	for _, version := range []int64{3, 2} {
		_, err := read(t, env.Engine, api, ref(t, "p/a", version))
		must(t, err)
	}
	got, err := env.Engine.ConsumersBack(t.Context(), vaulttest.Path(t, "p/a"), 2)
	must(t, err)
	why := map[string]string{}
	for _, behind := range got.Behind {
		why[behind.String()] = behind.Why
	}
	want := map[string]string{
		"VaultSecret payments/newer in cluster one":      "it has version 3 (VaultUnavailable)",
		"VaultSecret payments/rolling in cluster one":    "1 of 3 workloads run with version 2 (RollingOut)",
		"ServiceAccount payments/api in cluster default": "it has version 3 (Cached)",
	}
	if diff := cmp.Diff(want, why); diff != "" || got.Total != 5 || got.Moved != 2 {
		t.Errorf("%d of %d are back, want 2 of 5; and (-want +got):\n%s", got.Moved, got.Total, diff)
	}
}
