package vault_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func describe(entries []audit.Entry) []string {
	var lines []string
	for _, e := range entries {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %d", e.Caller, e.Action, e.Decision, e.Path, e.Version))
	}
	return lines
}

func TestAuditSearch(t *testing.T) {
	env := vaulttest.Start(t)
	ctx := t.Context()
	env.Sync(t, "default")
	stranger := vaulttest.ServiceAccount("other", "api", "staging")
	env.Put(t, "a/b", "v")
	env.Put(t, "a/bc", "v")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	_, err := read(t, env.Engine, stranger, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
	var middle time.Time
	if err := connect(t, env).QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&middle); err != nil {
		t.Fatal(err)
	}
	env.Put(t, "a/b", "v")
	newest := lastAudit(t, env).ID

	for _, c := range []struct {
		name  string
		query audit.Query
		want  []string
	}{
		{"a path", audit.Query{PathPrefix: "a/b", Caller: "user:admin", Action: audit.Read}, []string{"user:admin read allowed a/b 1"}},
		{"a path is not one that begins like it", audit.Query{PathPrefix: "a/b", Action: audit.Put}, []string{"user:admin put allowed a/b 2", "user:admin put allowed a/b 1"}},
		{"all below", audit.Query{PathPrefix: "a/", Action: audit.Put, Limit: 2}, []string{"user:admin put allowed a/b 2", "user:admin put allowed a/bc 1"}},
		{"half a segment", audit.Query{PathPrefix: "a", Action: audit.Put}, nil},
		{"who was denied", audit.Query{Decision: audit.Denied, PathPrefix: "a/"}, []string{"other/api read denied a/b 0"}},
		{"since", audit.Query{Since: middle, Action: audit.Put}, []string{"user:admin put allowed a/b 2"}},
		{"until", audit.Query{Until: middle, Action: audit.Put}, []string{"user:admin put allowed a/bc 1", "user:admin put allowed a/b 1"}},
		{"a page", audit.Query{Action: audit.Put, Limit: 2}, []string{"user:admin put allowed a/b 2", "user:admin put allowed a/bc 1"}},
		{"before", audit.Query{Action: audit.Put, Before: newest, Limit: 1}, []string{"user:admin put allowed a/bc 1"}},
		{"nothing", audit.Query{Caller: "user:nobody"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries, _, err := env.Engine.Audit(ctx, env.Admin, c.query)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, describe(entries)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
	if got := lastAudit(t, env); got.Action != audit.Audit || got.Decision != audit.Allowed {
		t.Errorf("a search leaves no row of itself: %+v", got)
	}
}

func TestAuditShowsOnlyWhatPolicyShows(t *testing.T) {
	env := vaulttest.Start(t)
	ctx := t.Context()
	auditor := vaulttest.ServiceAccount("security", "auditor", "")
	env.Allow(t, auditor, "a/**", policy.Audit)
	for i := range 30 {
		env.Put(t, fmt.Sprintf("b/%d", i), "v")
	}
	env.Put(t, "a/b", "v")
	prefix, err := secret.ParsePrefix("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Engine.List(ctx, env.Admin, prefix, secret.Path{}, 0); err != nil {
		t.Fatal(err)
	}
	entries, _, err := env.Engine.Audit(ctx, auditor, audit.Query{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"user:admin list allowed a/ 0", "user:admin put allowed a/b 1"}
	if diff := cmp.Diff(want, describe(entries)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	_, _, err = env.Engine.Audit(ctx, auditor, audit.Query{PathPrefix: "b/"})
	wantError(t, err, secret.ErrDenied)
	if got := lastAudit(t, env); got.Action != audit.Audit || got.Decision != audit.Denied {
		t.Errorf("audit row of a denied search: %+v", got)
	}
	// Who may audit a prefix and finds nothing there gets an empty answer.
	entries, _, err = env.Engine.Audit(ctx, auditor, audit.Query{PathPrefix: "a/none/"})
	if err != nil || len(entries) != 0 {
		t.Errorf("got %v, %v", entries, err)
	}
}

func TestExplain(t *testing.T) {
	env := vaulttest.Start(t)
	ctx := t.Context()
	api := vaulttest.ServiceAccount("payments", "api", "production")
	worker := vaulttest.ServiceAccount("payments", "worker", "production")
	env.Allow(t, api, "a/*", policy.Read)
	env.PutShared(t, "s/shared", "v", &secret.AccessPolicy{AllowedServices: []string{"payments/worker"}, AllowedEnvironments: []string{"staging"}})
	explain := func(caller, subject secret.Caller, path string) (policy.Explanation, error) {
		return env.Engine.Explain(ctx, caller, subject, vaulttest.Path(t, path), policy.Read, nil)
	}

	d, err := explain(env.Admin, api, "a/b")
	if err != nil || !d.Allowed || d.Rule != "VaultPolicy vaulttest rule 1" {
		t.Errorf("about another: %+v, %v", d, err)
	}
	d, err = explain(api, api, "a/b")
	if err != nil || !d.Allowed {
		t.Errorf("about oneself: %+v, %v", d, err)
	}
	_, err = explain(api, worker, "a/b")
	wantError(t, err, secret.ErrDenied)

	// The auditor sees why the access policy does not apply; the subject does not
	// learn that there is one, nor by pretending to be elsewhere.
	d, err = explain(env.Admin, worker, "s/shared")
	if err != nil || d.Allowed || len(d.Matched) != 1 {
		t.Errorf("to an auditor: %+v, %v", d, err)
	}
	elsewhere := worker
	elsewhere.Environment = "staging"
	for _, subject := range []secret.Caller{worker, elsewhere} {
		there, err := explain(worker, subject, "s/shared")
		if err != nil {
			t.Fatal(err)
		}
		missing, err := explain(worker, subject, "s/absent")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(there, missing); diff != "" {
			t.Errorf("the subject can tell a path that is there:\n%s", diff)
		}
		if there.Subject.Environment != worker.Environment {
			t.Errorf("the answer claims to be about the environment %q", there.Subject.Environment)
		}
	}
	d, err = explain(env.Admin, elsewhere, "s/shared")
	if err != nil || d.Subject.Environment != "staging" || !d.Allowed {
		t.Errorf("an auditor may suppose an environment: %+v, %v", d, err)
	}

	// Nor does a corrupt row show, or count.
	exec(t, env, `UPDATE secrets SET allowed_environments = '{production}'`)
	corrupt, err := explain(worker, worker, "s/shared")
	if err != nil {
		t.Fatal(err)
	}
	if got := lastAudit(t, env); got.Action != audit.Explain || got.Decision != audit.Failed {
		t.Errorf("audit row: %+v", got)
	}
	missing, err := explain(worker, worker, "s/absent")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(missing, corrupt); diff != "" {
		t.Errorf("the subject can tell a path whose row is corrupt:\n%s", diff)
	}
	_, err = explain(env.Admin, worker, "s/shared")
	wantError(t, err, secret.ErrTampered)
}

// TestAuditSearchGoesOn: more than one call looks through lies between an auditor
// and the entries it may see.
func TestAuditSearchGoesOn(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	auditor := vaulttest.ServiceAccount("security", "auditor", "")
	env.Allow(t, auditor, "a/**", policy.Audit)
	env.Put(t, "a/b", "v")
	exec(t, env, `INSERT INTO audit (cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version, decision, rule, address, request_id)
		SELECT '', '', '', '', '', '', 'read', 'b/c', 1, 'allowed', '', '', '' FROM generate_series(1, 20000)`)
	var found []audit.Entry
	pages := 0
	for q := (audit.Query{Limit: 10}); pages == 0 || q.Before != 0; pages++ {
		page, next, err := env.Engine.Audit(t.Context(), auditor, q)
		if err != nil {
			t.Fatalf("page %d: %v", pages+1, err)
		}
		found, q.Before = append(found, page...), next
	}
	if diff := cmp.Diff([]string{"user:admin put allowed a/b 1"}, describe(found)); diff != "" || pages != 2 {
		t.Errorf("entries of %d pages (-want +got):\n%s", pages, diff)
	}
}

func TestAuditRefusesWhatIsNoText(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	for _, text := range []string{"a\x00b", "\xff", strings.Repeat("x", 5000)} {
		for name, q := range map[string]audit.Query{
			"prefix": {PathPrefix: text}, "caller": {Caller: text}, "action": {Action: audit.Action(text)}, "decision": {Decision: audit.Decision(text)},
		} {
			t.Run(name, func(t *testing.T) {
				_, _, err := env.Engine.Audit(t.Context(), env.Admin, q)
				wantError(t, err, secret.ErrInvalid)
			})
		}
	}
}

func TestAuditEntriesHoldWhoAndFromWhere(t *testing.T) {
	env := vaulttest.Start(t)
	api := vaulttest.ServiceAccount("payments", "api", "production")
	api.Address, api.RequestID = "10.1.2.3", "id-1"
	env.Allow(t, api, "a/*", policy.Read)
	env.Put(t, "a/b", "v")
	wantRead(t, env.Engine, api, ref(t, "a/b", 0), "v")
	got := lastAudit(t, env)
	got.ID, got.At = 0, time.Time{}
	want := audit.Entry{
		Cluster: "default", CallerKind: "ServiceAccount", Caller: "payments/api", Namespace: "payments", CallerUID: api.UID,
		Environment: "production", Action: audit.Read, Path: "a/b", Version: 1, Decision: audit.Allowed,
		Rule: "VaultPolicy vaulttest rule 1", Address: "10.1.2.3", RequestID: "id-1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
}

func TestPolicyChangesAreAudited(t *testing.T) {
	env := vaulttest.Start(t)
	env.Sync(t, "default")
	got := lastAudit(t, env)
	if got.Action != audit.Policy || got.Caller != "system:policy-sync" || got.Cluster != "default" || !strings.Contains(got.Rule, "0 policies") {
		t.Errorf("entry: %+v", got)
	}
}
