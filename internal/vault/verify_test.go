package vault_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func verify(t testing.TB, env *vaulttest.Env, engine *vault.Engine) audit.Report {
	t.Helper()
	report, err := engine.VerifyAudit(t.Context(), env.Admin, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// chained makes a log with a lane of six rows or more, the only one.
func chained(t testing.TB) *vaulttest.Env {
	t.Helper()
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "v")
	awaitAnchor(t, env) // it takes a lane: what is written meanwhile would go to another
	for range 6 {
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	}
	return env
}

// awaitAnchor waits until the engine has written the anchor of its start.
func awaitAnchor(t testing.TB, env *vaulttest.Env) {
	t.Helper()
	conn := connect(t, env)
	eventually(t, "the anchor of the start", func() bool {
		var anchored bool
		err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM audit WHERE action = 'anchor')`).Scan(&anchored)
		return err == nil && anchored
	})
}

// TestVerifyFindsNothingInATrueLog written by two replicas at the same time.
func TestVerifyFindsNothingInATrueLog(t *testing.T) {
	env := chained(t)
	replica := env.Open(t)
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			for range 5 {
				wantRead(t, replica, env.Admin, ref(t, "a/b", 0), "v")
				if report := verify(t, env, replica); len(report.Findings) > 0 {
					t.Errorf("while it is written: %+v", report.Findings)
				}
			}
			env.Put(t, fmt.Sprintf("c/%d", i), "v")
		})
	}
	wait.Wait()
	report := verify(t, env, replica)
	if len(report.Findings) > 0 || report.Unchained != 0 || report.Writers < 2 || report.Rows < 6+16*11 {
		t.Errorf("report: %+v", report)
	}
}

// The tests below look at the longest lane: w is its writer, and n its last row.
const longest = `WITH lane AS (SELECT writer AS w, max(seq) AS n FROM audit GROUP BY writer ORDER BY n DESC LIMIT 1) `

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want []audit.Kind
	}{
		"deleted":             {longest + `DELETE FROM audit USING lane WHERE writer = w AND seq = 3`, []audit.Kind{audit.Missing}},
		"first deleted":       {longest + `DELETE FROM audit USING lane WHERE writer = w AND seq = 1`, []audit.Kind{audit.Missing}},
		"truncated":           {longest + `DELETE FROM audit USING lane WHERE writer = w AND seq > n - 2`, []audit.Kind{audit.Truncated}},
		"a writer deleted":    {longest + `DELETE FROM audit USING lane WHERE writer = w`, []audit.Kind{audit.Truncated}},
		"edited":              {longest + `UPDATE audit SET path = 'x/y' FROM lane WHERE writer = w AND seq = 3`, []audit.Kind{audit.Changed}},
		"swapped":             {longest + `UPDATE audit SET seq = 7 - seq FROM lane WHERE writer = w AND seq IN (3, 4)`, []audit.Kind{audit.Changed, audit.Changed, audit.Missing}},
		"added":               {`INSERT INTO audit (cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version, decision, rule, address, request_id) VALUES ('', '', 'x', '', '', '', 'read', 'a/b', 1, 'denied', '', '', '')`, []audit.Kind{audit.Unchained}},
		"head edited":         {`UPDATE audit_writers SET seq = seq - 1 WHERE writer = (` + longest + `SELECT w FROM lane)`, []audit.Kind{audit.HeadChanged}},
		"head deleted":        {`DELETE FROM audit_writers WHERE writer = (` + longest + `SELECT w FROM lane)`, []audit.Kind{audit.HeadChanged}},
		"one of each and all": {longest + `, d AS (DELETE FROM audit USING lane WHERE writer = w AND seq IN (3, n)) UPDATE audit SET caller = 'user:nobody' FROM lane WHERE writer = w AND seq = 4`, []audit.Kind{audit.Missing, audit.Changed, audit.Truncated}},
	} {
		t.Run(name, func(t *testing.T) {
			env := chained(t)
			replica := env.Open(t) // writes with lanes of its own, not over what was edited
			exec(t, env, c.sql)
			report := verify(t, env, replica)
			var got []audit.Kind
			for _, f := range report.Findings {
				got = append(got, f.Kind)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("findings %v, want %v: %+v", got, c.want, report.Findings)
			}
			if last := lastAudit(t, env); last.Action != audit.Verify || last.Decision != audit.Failed {
				t.Errorf("audit row: %+v", last)
			}
		})
	}
}

// TestVerifyNamesTheEndOfAWriter as truncated when the writer has written nothing since, as that of a replica that ended, and
// as missing when it has: a replica that runs writes on, at the latest the row of the verification itself.
func TestVerifyNamesTheEndOfAWriter(t *testing.T) {
	for name, c := range map[string]struct {
		ends bool
		want audit.Kind
	}{"of a replica that ended": {true, audit.Truncated}, "of a replica that runs": {false, audit.Missing}} {
		t.Run(name, func(t *testing.T) {
			env := chained(t)
			by := env.Engine
			if c.ends {
				by = env.Open(t)
				env.CloseFirst()
			}
			var writer string
			var last int64
			var before time.Time
			must(t, connect(t, env).QueryRow(t.Context(), longest+`, gone AS (DELETE FROM audit USING lane WHERE writer = w AND seq > n - 2)
				SELECT w::text, n, at FROM audit, lane WHERE writer = w AND seq = n - 2`).Scan(&writer, &last, &before))
			settles(t, "to find rows "+string(c.want), func() error { // an anchor may have the lane at first
				report := verify(t, env, by)
				if len(report.Findings) != 1 {
					t.Fatalf("findings: %+v", report.Findings)
				}
				f := report.Findings[0]
				if f.Writer != writer || f.First != last-1 || f.Last != last || f.After == nil || !f.After.Equal(before) {
					t.Fatalf("it is not rows %d and %d of writer %s, after %s: %+v", last-1, last, writer, before, f)
				}
				if f.Kind != c.want || (f.Before == nil) != c.ends {
					return fmt.Errorf("%+v", f)
				}
				return nil
			})
		})
	}
}

// TestVerifyFindsAnEditOfAnyColumn of the tables of the log, also one that is added to
// them later.
func TestVerifyFindsAnEditOfAnyColumn(t *testing.T) {
	env := chained(t)
	replica := env.Open(t)
	conn := connect(t, env)
	type column struct{ Table, Name, Type string }
	rows, err := conn.Query(t.Context(), `SELECT table_name, column_name, data_type FROM information_schema.columns
		WHERE table_name IN ('audit', 'audit_writers') ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil || len(columns) < 25 {
		t.Fatalf("%d columns, %v", len(columns), err)
	}
	var writer string
	if err := conn.QueryRow(t.Context(), longest+`SELECT w::text FROM lane`).Scan(&writer); err != nil {
		t.Fatal(err)
	}
	edits := map[string]string{
		"bigint": "%s + 1000", "text": "%s || 'x'", "uuid": "gen_random_uuid()", "timestamp with time zone": "%s + interval '1 microsecond'",
		"bytea": "set_byte(%[1]s, 0, 255 - get_byte(%[1]s, 0))",
	}
	for _, c := range columns {
		t.Run(c.Table+"."+c.Name, func(t *testing.T) {
			edit, known := edits[c.Type]
			if !known {
				t.Fatalf("no edit of a column of type %s is known here", c.Type)
			}
			if strings.Contains(edit, "%") {
				edit = fmt.Sprintf(edit, c.Name)
			}
			where := fmt.Sprintf(`writer = '%s'`, writer)
			if c.Table == "audit" {
				where += ` AND seq = 3`
			}
			var place, before string
			find := fmt.Sprintf(`SELECT tableoid || ' ' || ctid, %s::text FROM %s WHERE %s`, c.Name, c.Table, where)
			if err := conn.QueryRow(t.Context(), find).Scan(&place, &before); err != nil {
				t.Fatal(err)
			}
			change := fmt.Sprintf(`UPDATE %s SET %s = %s WHERE tableoid || ' ' || ctid = $1 RETURNING tableoid || ' ' || ctid`, c.Table, c.Name, edit)
			if err := conn.QueryRow(t.Context(), change, place).Scan(&place); err != nil {
				t.Fatal(err)
			}
			if report := verify(t, env, replica); len(report.Findings) == 0 {
				t.Error("the edit was not found")
			}
			undo := fmt.Sprintf(`UPDATE %s SET %s = ($2::text)::%s WHERE tableoid || ' ' || ctid = $1`, c.Table, c.Name, c.Type)
			if tag, err := conn.Exec(t.Context(), undo, place, before); err != nil || tag.RowsAffected() != 1 {
				t.Fatalf("undo: %v", err)
			}
			if report := verify(t, env, replica); len(report.Findings) != 0 {
				t.Fatalf("after it was undone: %+v", report.Findings)
			}
		})
	}
}
