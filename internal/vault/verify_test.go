package vault_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

// lane is the longest lane before it is edited: ids[n] is the id of its row n, and last is the number of the last. added is
// the id of a row that somebody else put into the log. anchors says that some row anchors the heads of others, which are
// then found to be changed when that row is.
type lane struct {
	writer      string
	last, added int64
	ids         map[int64]int64
	anchors     bool
}

func longestLane(t *testing.T, env *vaulttest.Env) lane {
	t.Helper()
	conn := connect(t, env)
	l := lane{ids: map[int64]int64{}}
	must(t, conn.QueryRow(t.Context(), longest+`SELECT w::text, n, EXISTS (SELECT FROM audit WHERE writer = w AND action = 'anchor') FROM lane`).
		Scan(&l.writer, &l.last, &l.anchors))
	rows, err := conn.Query(t.Context(), `SELECT seq, id FROM audit WHERE writer = $1`, l.writer)
	must(t, err)
	var seq, id int64
	_, err = pgx.ForEachRow(rows, []any{&seq, &id}, func() error { l.ids[seq] = id; return nil })
	must(t, err)
	return l
}

// gone is the finding about rows that are not there: only their numbers are known.
func (l lane) gone(kind audit.Kind, first, last int64) audit.Finding {
	return audit.Finding{Kind: kind, Writer: l.writer, First: first, Last: last}
}

// read is the finding about a row of a read that is there with the number seq, and was written as row was.
func (l lane) read(kind audit.Kind, seq, was int64, path string) audit.Finding {
	return audit.Finding{Kind: kind, Writer: l.writer, First: seq, Last: seq, ID: l.ids[was], Action: string(audit.Read), Path: path}
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	const noWriter = "00000000-0000-0000-0000-000000000000"
	for name, c := range map[string]struct {
		sql  string
		want func(l lane, n int64) []audit.Finding // n is the lane's last row
	}{
		"deleted": {longest + `DELETE FROM audit USING lane WHERE writer = w AND seq = n - 3`, func(l lane, n int64) []audit.Finding {
			return []audit.Finding{l.gone(audit.Missing, n-3, n-3)}
		}},
		"first deleted": {longest + `DELETE FROM audit USING lane WHERE writer = w AND seq = 1`, func(l lane, _ int64) []audit.Finding {
			return []audit.Finding{l.gone(audit.Missing, 1, 1)}
		}},
		"truncated": {longest + `DELETE FROM audit USING lane WHERE writer = w AND seq > n - 2`, func(l lane, n int64) []audit.Finding {
			return []audit.Finding{l.gone(audit.Truncated, n-1, n)}
		}},
		"a writer deleted": {longest + `DELETE FROM audit USING lane WHERE writer = w`, func(l lane, n int64) []audit.Finding {
			return []audit.Finding{l.gone(audit.Truncated, 1, n)}
		}},
		"edited": {longest + `UPDATE audit SET path = 'x/y' FROM lane WHERE writer = w AND seq = n - 3`, func(l lane, n int64) []audit.Finding {
			return []audit.Finding{l.read(audit.Changed, n-3, n-3, "x/y")}
		}},
		// Of the two, the row that says the number that comes next stands for it, and nothing for the other.
		"swapped": {longest + `UPDATE audit SET seq = 2 * n - 5 - seq FROM lane WHERE writer = w AND seq IN (n - 3, n - 2)`, func(l lane, n int64) []audit.Finding {
			return []audit.Finding{l.read(audit.Changed, n-3, n-2, "a/b"), l.read(audit.Changed, n-2, n-3, "a/b"), l.gone(audit.Missing, n-2, n-2)}
		}},
		"added": {`INSERT INTO audit (cluster, caller_kind, caller, namespace, caller_uid, environment, action, path, version, decision, rule, address, request_id)
			VALUES ('', '', 'x', '', '', '', 'read', 'a/b', 1, 'denied', '', '', '')`, func(l lane, _ int64) []audit.Finding {
			return []audit.Finding{{Kind: audit.Unchained, Writer: noWriter, ID: l.added, Action: string(audit.Read), Path: "a/b"}}
		}},
		"head edited": {`UPDATE audit_writers SET seq = seq - 1 WHERE writer = (` + longest + `SELECT w FROM lane)`, func(l lane, n int64) []audit.Finding {
			return []audit.Finding{l.gone(audit.HeadChanged, n-1, n-1)}
		}},
		"head deleted": {`DELETE FROM audit_writers WHERE writer = (` + longest + `SELECT w FROM lane)`, func(l lane, n int64) []audit.Finding {
			return []audit.Finding{l.gone(audit.HeadChanged, n, n)}
		}},
		"one of each and all": {longest + `, d AS (DELETE FROM audit USING lane WHERE writer = w AND seq IN (n - 4, n)) UPDATE audit SET caller = 'user:nobody' FROM lane WHERE writer = w AND seq = n - 2`, func(l lane, n int64) []audit.Finding {
			return []audit.Finding{l.gone(audit.Missing, n-4, n-4), l.read(audit.Changed, n-2, n-2, "a/b"), l.gone(audit.Truncated, n, n)}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			env := chained(t)
			replica := env.Open(t) // writes with lanes of its own, not over what was edited
			env.CloseFirst()       // and the other one writes no more
			l := longestLane(t, env)
			exec(t, env, c.sql)
			must(t, connect(t, env).QueryRow(t.Context(), `SELECT coalesce(max(id), 0) FROM audit WHERE caller = 'x'`).Scan(&l.added))
			report := verify(t, env, replica)
			report.Findings = slices.DeleteFunc(report.Findings, func(f audit.Finding) bool {
				return l.anchors && f.Kind == audit.HeadChanged && f.Writer != l.writer
			})
			without := cmpopts.IgnoreFields(audit.Finding{}, "After", "Before", "Detail")
			if diff := cmp.Diff(c.want(l, l.last), report.Findings, without); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
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
