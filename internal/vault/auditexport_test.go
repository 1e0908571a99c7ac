package vault_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// export reads pages until a run ends. It returns the rows and the last page.
func export(t testing.TB, engine *vault.Engine, caller secret.Caller, q audit.ExportQuery) ([]audit.Row, audit.ExportPage) {
	t.Helper()
	var rows []audit.Row
	for pages := 1; ; pages++ {
		page, err := engine.ExportAudit(t.Context(), caller, q)
		if err != nil {
			t.Fatalf("page %d: %v", pages, err)
		}
		rows = append(rows, page.Rows...)
		if !page.More {
			return rows, page
		}
		q.After = page.Next
	}
}

// inLog is every row of the log, read past the engine.
func inLog(t testing.TB, env *vaulttest.Env) []int64 {
	t.Helper()
	var ids []int64
	for _, e := range auditRows(t, env, `ORDER BY id`) {
		ids = append(ids, e.ID)
	}
	return ids
}

func idsOf(rows []audit.Row) []int64 {
	var ids []int64
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

// TestExportGivesALateRow that drew its id before a row that was exported, and committed after that.
func TestExportGivesALateRow(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "v")
	awaitAnchor(t, env) // one that waits for a head has its lane, and the read would wait for that
	conn, watch := connect(t, env), connect(t, env)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Whoever goes on with a lane waits for its head.
	if _, err := tx.Exec(t.Context(), `SELECT FROM audit_writers FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	replica := env.Open(t) // has lanes of its own
	late := make(chan error, 1)
	go func() {
		_, err := env.Engine.Read(context.WithoutCancel(t.Context()), env.Admin, secret.Ref{Path: vaulttest.Path(t, "a/b")})
		late <- err
	}()
	eventually(t, "a row that waits", func() bool {
		var waiting bool
		if err := watch.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO audit_writers%')`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		return waiting
	})
	for range 10 {
		wantRead(t, replica, env.Admin, ref(t, "a/b", 0), "v")
	}
	first, page := export(t, replica, env.Admin, audit.ExportQuery{Anchors: true})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-late; err != nil {
		t.Fatal(err)
	}
	last := lastOf(first)
	second, page := export(t, replica, env.Admin, audit.ExportQuery{Anchors: true, After: page.Next})
	if len(second) == 0 || second[0].ID >= last || page.Missing != 0 {
		t.Fatalf("no late row after id %d: %+v", last, second)
	}
	if diff := cmp.Diff(inLog(t, env)[:len(first)+len(second)], idsOf(append(first, second...))); diff != "" {
		t.Errorf("rows (-in the log +exported):\n%s", diff)
	}
}

func lastOf(rows []audit.Row) int64 { return rows[len(rows)-1].ID }

// TestExportGivesEveryRowOnce while replicas write, in pages that any replica serves.
func TestExportGivesEveryRowOnce(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	engines := []*vault.Engine{env.Engine, env.Open(t), env.Open(t)}
	env.Put(t, "a/b", "v")
	var writers sync.WaitGroup
	for i, engine := range engines {
		for range 4 {
			writers.Go(func() {
				for j := range 30 {
					wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
					if j%10 == 0 {
						put(t, engine, env.Admin, fmt.Sprintf("c/%d", i))
					}
				}
			})
		}
	}
	ended := make(chan struct{})
	go func() { writers.Wait(); close(ended) }()
	var rows []audit.Row
	q := audit.ExportQuery{Anchors: true, Query: audit.Query{Limit: 7}}
	for pages, more := 0, true; more; pages++ {
		select {
		case <-ended:
			more = false
		default:
		}
		got, page := export(t, engines[pages%3], env.Admin, q)
		if page.Missing != 0 {
			t.Errorf("%d rows are said to be missing", page.Missing)
		}
		rows, q.After = append(rows, got...), page.Next
	}
	rest, _ := export(t, env.Engine, env.Admin, q)
	rows = append(rows, rest...)
	got := idsOf(rows)
	all := inLog(t, env)
	if diff := cmp.Diff(all[:len(got)], got); diff != "" || len(all)-len(got) > 30 { // the rest are anchors
		t.Errorf("%d of %d rows (-in the log +exported):\n%s", len(got), len(all), diff)
	}
	// What is exported shows by itself that nothing is left out.
	slices.SortFunc(rows, func(a, b audit.Row) int { return int(a.ID - b.ID) })
	next := map[uuid.UUID]int64{}
	for _, r := range rows {
		if next[r.Writer]++; r.Seq != next[r.Writer] {
			t.Fatalf("writer %s: row %d where %d is to be", r.Writer, r.Seq, next[r.Writer])
		}
	}
}

func put(t testing.TB, engine *vault.Engine, caller secret.Caller, path string) {
	t.Helper()
	value, err := secret.NewValue([]byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Put(t.Context(), caller, secret.PutRequest{Path: vaulttest.Path(t, path), Value: value}); err != nil {
		t.Error(err)
	}
}

// TestExportSelectsWhatASearchSelects, and shows what it shows.
func TestExportSelectsWhatASearchSelects(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Sync(t, "default")
	stranger := vaulttest.ServiceAccount("other", "api", "staging")
	auditor := vaulttest.ServiceAccount("security", "auditor", "")
	env.Allow(t, auditor, "a/**", policy.Audit)
	for _, path := range []string{"a/b", "a/bc", "b/c", "a/b"} {
		env.Put(t, path, "v")
	}
	_, err := read(t, env.Engine, stranger, ref(t, "a/b", 0))
	wantError(t, err, secret.ErrDenied)
	if _, err := env.Engine.List(t.Context(), env.Admin, prefixOf(t, "a"), secret.Path{}, 0); err != nil {
		t.Fatal(err)
	}
	middle := auditRows(t, env, `ORDER BY id DESC LIMIT 1`)[0].At
	wantRead(t, env.Engine, env.Admin, ref(t, "b/c", 0), "v")
	for _, q := range []audit.Query{
		{}, {PathPrefix: "a/"}, {PathPrefix: "a/b"}, {PathPrefix: "a"}, {Caller: "user:admin"}, {Action: audit.Put}, {Action: audit.Anchor},
		{Decision: audit.Denied}, {Since: middle}, {Until: middle}, {Since: middle, PathPrefix: "b/", Action: audit.Read}, {Caller: "nobody/here"},
	} {
		for _, caller := range []secret.Caller{env.Admin, auditor} {
			t.Run(fmt.Sprintf("%s %+v", caller.Name, q), func(t *testing.T) {
				rows, _ := export(t, env.Engine, caller, audit.ExportQuery{Query: q})
				q.Limit = 1000
				if len(rows) > 0 {
					q.Before = lastOf(rows) + 1
				}
				want, _, err := env.Engine.Audit(t.Context(), caller, q)
				if err != nil && len(rows) > 0 {
					t.Fatal(err)
				}
				slices.Reverse(want)
				want = slices.DeleteFunc(want, func(e audit.Entry) bool { return e.Action == audit.Export })
				var got []audit.Entry
				for _, r := range rows {
					if r.Action != audit.Export {
						got = append(got, r.Entry)
					}
				}
				if diff := cmp.Diff(describe(want), describe(got)); diff != "" {
					t.Errorf("entries (-search +export):\n%s", diff)
				}
			})
		}
	}
}

func prefixOf(t testing.TB, s string) secret.Prefix {
	t.Helper()
	prefix, err := secret.ParsePrefix(s)
	if err != nil {
		t.Fatal(err)
	}
	return prefix
}

// TestExportIsAudited once, with the first page; and a position does not let anybody else, or anything else, through unseen.
func TestExportIsAudited(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	stranger := vaulttest.ServiceAccount("other", "api", "staging")
	auditor := vaulttest.ServiceAccount("security", "auditor", "")
	env.Allow(t, auditor, "a/**", policy.Audit)
	for range 5 {
		env.Put(t, "a/b", "v")
	}
	exports := func() int { return len(auditRows(t, env, `WHERE action = 'export'`)) }
	_, page := export(t, env.Engine, env.Admin, audit.ExportQuery{Query: audit.Query{Limit: 1}})
	if got := exports(); got != 1 {
		t.Errorf("%d rows about an export of several pages", got)
	}
	if last := auditRows(t, env, `WHERE action = 'export'`)[0]; last.Caller != "user:admin" || last.Decision != audit.Allowed {
		t.Errorf("audit row: %+v", last)
	}
	follow := func(name string, caller secret.Caller, q audit.ExportQuery, want int) {
		t.Helper()
		before := exports()
		if _, err := env.Engine.ExportAudit(t.Context(), caller, q); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := exports() - before; got != want {
			t.Errorf("%s: %d rows, want %d", name, got, want)
		}
	}
	q := audit.ExportQuery{Query: audit.Query{Limit: 1}, After: page.Next}
	follow("going on", env.Admin, q, 0)
	follow("of another caller", auditor, q, 1)
	q.Action = audit.Read
	follow("of other filters", env.Admin, q, 1)
	q.Action = ""
	position, _, _ := strings.Cut(page.Next, ".")
	q.After = position + "."
	follow("without a seal", env.Admin, q, 1)

	_, err := env.Engine.ExportAudit(t.Context(), stranger, audit.ExportQuery{After: page.Next})
	wantError(t, err, secret.ErrDenied)
	_, err = env.Engine.ExportAudit(t.Context(), stranger, audit.ExportQuery{FromNow: true})
	wantError(t, err, secret.ErrDenied)
	if last := lastAudit(t, env); last.Action != audit.Export || last.Decision != audit.Denied || last.Caller != "other/api" {
		t.Errorf("audit row of a denial: %+v", last)
	}
	for _, bad := range []string{"x", "!.!", "AQ.", page.Next[1:]} {
		_, err := env.Engine.ExportAudit(t.Context(), env.Admin, audit.ExportQuery{After: bad})
		wantError(t, err, secret.ErrInvalid)
	}
	_, err = env.Engine.ExportAudit(t.Context(), env.Admin, audit.ExportQuery{After: page.Next, FromNow: true})
	wantError(t, err, secret.ErrInvalid)
}

// TestExportFromNowGoesOn with what is written later.
func TestExportFromNowGoesOn(t *testing.T) {
	t.Parallel() // it mostly waits
	env := chained(t)
	rows, page := export(t, env.Engine, env.Admin, audit.ExportQuery{FromNow: true})
	if len(rows) != 0 {
		t.Errorf("%d rows from before", len(rows))
	}
	env.Put(t, "c/d", "v")
	rows, page = export(t, env.Engine, env.Admin, audit.ExportQuery{FromNow: false, After: page.Next})
	var got []string
	for _, r := range rows {
		got = append(got, string(r.Action)+" "+r.Path)
	}
	if diff := cmp.Diff([]string{"export ", "put c/d"}, got); diff != "" || page.Missing != 0 {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// TestExportCountsWhatIsGone before it was exported.
func TestExportCountsWhatIsGone(t *testing.T) {
	env := chained(t)
	_, page := export(t, env.Engine, env.Admin, audit.ExportQuery{})
	for range 5 {
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	}
	exec(t, env, longest+`DELETE FROM audit USING lane WHERE writer = w AND seq IN (n, n - 2)`)
	_, page = export(t, env.Engine, env.Admin, audit.ExportQuery{After: page.Next})
	if page.Missing != 2 {
		t.Errorf("%d rows are missing, want 2", page.Missing)
	}
	_, page = export(t, env.Engine, env.Admin, audit.ExportQuery{After: page.Next})
	if page.Missing != 0 {
		t.Errorf("they are missing again: %d", page.Missing)
	}
}
