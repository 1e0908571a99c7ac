package vault_test

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// swapTables are the tables whose columns are exchanged: between the two rows of each
// pair, which are SQL conditions on x, and with each other, in the first of the rows
// where they differ.
var swapTables = map[string]struct {
	rows [][2]string
	// probe looks at the vault after an exchange, and reports whether it was noticed. It
	// fails the test when the vault does anything that it did not do before.
	probe func(*swapping, string) bool
}{
	"secrets": {[][2]string{
		{`x.path = 'p/one'`, `x.path = 'p/two'`}, {`x.path = 'p/two'`, `x.path = 'p/gone'`}, {`x.path = 'p/destroyed'`, `x.path = 'p/one'`},
	}, (*swapping).answers},
	"secret_versions": {[][2]string{
		{versionRow("p/one", 8), versionRow("p/two", 4)}, {versionRow("p/one", 4), versionRow("p/two", 4)}, {versionRow("p/one", 8), versionRow("p/one", 7)},
		{versionRow("p/one", 4), versionRow("p/one", 8)}, {versionRow("p/one", 5), versionRow("p/one", 8)}, {versionRow("p/one", 2), versionRow("p/one", 8)},
	}, (*swapping).answers},
	"amendments": {[][2]string{
		{newestAmendment("p/one"), newestAmendment("p/two")}, {newestAmendment("p/one"), versionAmendment("p/one", 4)},
	}, (*swapping).answers},
	"idempotency_keys": {[][2]string{
		{`x.secret_id = (SELECT id FROM secrets WHERE path = 'p/one')`, `x.secret_id = (SELECT id FROM secrets WHERE path = 'p/two')`},
	}, (*swapping).repeats},
	"policy_sets": {[][2]string{{`x.cluster = 'default'`, `x.cluster = 'vaulttest'`}}, (*swapping).decides},
	"policies": {[][2]string{
		{`x.cluster = 'default' AND x.name = 'a'`, `x.cluster = 'default' AND x.name = 'b'`}, {`x.cluster = 'default' AND x.name = 'a'`, `x.cluster = 'vaulttest'`},
	}, (*swapping).decides},
	"rotation_sets": {[][2]string{{`x.cluster = 'default'`, `x.cluster = 'vaulttest'`}}, (*swapping).rotates},
	"rotations": {[][2]string{
		{`x.cluster = 'default' AND x.name = 'rotation of p/one'`, `x.cluster = 'default' AND x.name = 'rotation of p/default'`},
		{`x.cluster = 'default' AND x.name = 'rotation of p/one'`, `x.cluster = 'vaulttest' AND x.name = 'rotation of p/two'`},
	}, (*swapping).rotates},
	"rotation_runs": {[][2]string{{`x.path = 'p/one'`, `x.path = 'p/two'`}}, (*swapping).rotates},
	"rotation_steps": {[][2]string{
		{rotationStep("p/one", 1), rotationStep("p/one", 2)}, {rotationStep("p/one", 1), rotationStep("p/two", 1)},
	}, (*swapping).rotates},
	"key_encryption_keys": {[][2]string{{`x.state = 'primary'`, `x.state = 'enabled'`}}, (*swapping).keys},
	"consumers":           {[][2]string{{`x.cluster = 'one'`, `x.cluster = 'two'`}}, (*swapping).consumers},
	"consumer_sets":       {[][2]string{{`x.cluster = 'one'`, `x.cluster = 'two'`}}, (*swapping).consumers},
	"readers":             {[][2]string{{readerRow("p/one", 8, "payments/api"), readerRow("p/two", 1, "user:admin")}}, (*swapping).consumers},
	"audit":               {[][2]string{{auditRow(0, 4), auditRow(0, 5)}, {auditRow(0, 4), auditRow(1, 4)}, {auditRow(0, 4), auditRow(2, 1)}}, (*swapping).log},
	"audit_writers":       {[][2]string{{auditWriter(0), auditWriter(1)}, {auditWriter(0), auditWriter(3)}}, (*swapping).log},
}

// otherTables are those that need none, and why.
var otherTables = map[string]string{
	"vault":            "one row, with no two columns of one type; the root key authenticates the keyset, and versions are bound to the id",
	"changes":          "it only says where to look: TestFollowSurvivesRedis and the cursor's model",
	"changes_removed":  "one row and one column, which only says how far the feed goes back",
	"replicas":         "it only says how long a promotion waits: keyTampering",
	"notifications":    "TestSwappedNotificationsAreNotTold",
	"overdue_notices":  "it only says when a reminder comes again",
	"goose_db_version": "the migrations' own",
}

// harmlessSwaps are those that nobody notices, and why nothing comes of them. Those of
// equal values are not here: they change nothing.
var harmlessSwaps = map[string]string{
	"idempotency_keys.name with request": "the key is not found, as after 24 hours or when its row is removed: the write is done again, or is a conflict",
	"idempotency_keys.name with mac":     "as name with request",
	"readers.path with cluster":          "it is a row less, which nobody notices until its reader reads again",
	"readers.path with caller_kind":      "as path with cluster",
	"readers.path with caller":           "as path with cluster",
	"readers.path with namespace":        "as path with cluster",

	"rotation_runs.epoch between rows 1":        "as in harmlessColumns",
	"rotation_runs.leased_until between rows 1": "as in harmlessColumns",
	"rotation_runs.look_at between rows 1":      "as in harmlessColumns",
	"rotation_runs.leased_until with look_at":   "as in harmlessColumns",
}

// equalColumns never differ, and why: then there is nothing to exchange.
var equalColumns = map[string]string{
	"key_encryption_keys.revision": "each change of the keyset writes all rows with its revision",
}

func rotationStep(path string, number int) string {
	return fmt.Sprintf(`x.run_id = (SELECT id FROM rotation_runs WHERE path = '%s') AND x.number = %d`, path, number)
}

func versionRow(path string, version int) string {
	return fmt.Sprintf(`x.secret_id = (SELECT id FROM secrets WHERE path = '%s') AND x.version = %d`, path, version)
}

// readerRow is one of the rows of a reader: there is one for each writer of its audit rows.
// No writer has one of p/one and of version 1 of p/two.
func readerRow(path string, version int, caller string) string {
	return fmt.Sprintf(`x.mac = (SELECT mac FROM readers WHERE path = '%s' AND version = %d AND caller = '%s' ORDER BY mac LIMIT 1)`, path, version, caller)
}

func newestAmendment(path string) string {
	return fmt.Sprintf(`x.revision = (SELECT amended_revision FROM secrets WHERE path = '%[1]s') AND x.secret_id = (SELECT id FROM secrets WHERE path = '%[1]s')`, path)
}

func versionAmendment(path string, version int) string {
	return fmt.Sprintf(`x.secret_id = (SELECT id FROM secrets WHERE path = '%s') AND x.version = %d`, path, version)
}

// auditWriter is one of the writers whose rows are edited, and auditRow a row of it.
func auditWriter(n int) string {
	return fmt.Sprintf(`x.writer = (SELECT writer FROM swapped_writers WHERE n = %d)`, n)
}

func auditRow(writer, seq int) string {
	return fmt.Sprintf(`%s AND x.seq = %d`, auditWriter(writer), seq)
}

// swapping is a vault to edit.
type swapping struct {
	*vaulttest.Env
	t         *testing.T
	api       secret.Caller
	reader    *vault.Engine     // has read everything before any edit
	before    []string          // what operations answered before any edit
	rotations []string          // what was told of rotations
	holders   []string          // who had p/one and p/two before any edit
	keyed     operation         // a write with an idempotency key
	repeated  string            // what it answered when it was sent again
	harmless  map[string]string // of harmlessSwaps, those not tried yet
}

// TestEverySwapIsNoticed: an exchange of what two rows have in a column, or of what two
// columns of one type have in a row, is tampering as an edit is. Tables and columns come
// from the schema, so one that is added needs a case.
func TestEverySwapIsNoticed(t *testing.T) {
	s := startSwapping(t)
	conn := connect(t, s.Env)
	for _, name := range swapSchema(t, conn) {
		table, known := swapTables[name]
		if _, other := otherTables[name]; !known && !other {
			t.Errorf("table %s: no case says how an exchange in it is noticed", name)
		}
		if !known {
			continue
		}
		columns := swapColumns(t, conn, name)
		for i, column := range columns {
			changed := false
			for n, rows := range table.rows {
				swap := fmt.Sprintf("%s.%s between rows %d", name, column.Name, n+1)
				set := fmt.Sprintf(`UPDATE edited x SET %[1]s = o.%[1]s FROM edited o WHERE x.place <> o.place`, column.Name)
				changed = s.try(conn, name, columns, rows, swap, set, table.probe) || changed
			}
			if _, equal := equalColumns[name+"."+column.Name]; !changed && !equal {
				t.Errorf("%s.%s: no two rows differ in it, so nothing was tried", name, column.Name)
			}
			for _, other := range columns[i+1:] {
				if other.Type != column.Type {
					continue
				}
				swap := fmt.Sprintf("%s.%s with %s", name, column.Name, other.Name)
				set := fmt.Sprintf(`UPDATE edited x SET %[1]s = %[2]s, %[2]s = %[1]s`, column.Name, other.Name)
				changed := false
				for _, row := range slices.Concat(pairs(table.rows)...) {
					if changed = s.try(conn, name, columns, [2]string{row, "false"}, swap, set, table.probe); changed {
						break
					}
				}
				if !changed {
					t.Errorf("%s: they differ in no row, so nothing was tried", swap)
				}
			}
		}
	}
	for swap := range s.harmless {
		t.Errorf("%s is noticed, or not tried: it is no harmless swap", swap)
	}
}

func pairs(rows [][2]string) (lists [][]string) {
	for _, r := range rows {
		lists = append(lists, r[:])
	}
	return lists
}

type swapColumn struct{ Name, Type string }

// swapSchema is every table. Nothing but the vault keeps anybody from an edit: checks
// go, and so do foreign keys.
func swapSchema(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT conrelid::regclass::text || ' DROP CONSTRAINT ' || quote_ident(conname) FROM pg_constraint
		WHERE connamespace = current_schema()::regnamespace AND contype = 'c'`)
	must(t, err)
	checks, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	for _, check := range checks {
		_, err := conn.Exec(t.Context(), `ALTER TABLE `+check)
		must(t, err)
	}
	_, err = conn.Exec(t.Context(), `SET session_replication_role = replica`)
	must(t, err)
	rows, err = conn.Query(t.Context(), `SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace
		AND relkind IN ('r', 'p') AND NOT relispartition AND relname NOT LIKE 'swapped%' ORDER BY 1`)
	must(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	return tables
}

// swapColumns are the columns of a table that can be written.
func swapColumns(t *testing.T, conn *pgx.Conn, table string) []swapColumn {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT column_name::text, udt_name::text FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name = $1 AND is_generated = 'NEVER' ORDER BY ordinal_position`, table)
	must(t, err)
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[swapColumn])
	if err != nil || len(columns) == 0 {
		t.Fatalf("%d columns of %s, %v", len(columns), table, err)
	}
	return columns
}

// try takes two rows out of a table, edits them, and puts them in again; looks what the
// vault makes of it; and puts the true ones back. It reports whether the edit changed
// anything.
func (s *swapping) try(
	conn *pgx.Conn, table string, columns []swapColumn, rows [2]string, name, edit string, probe func(*swapping, string) bool,
) (changed bool) {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	list := strings.Join(names, ", ")
	replace := func(these, by string) error {
		return pgx.BeginFunc(s.t.Context(), conn, func(tx pgx.Tx) error {
			removed, err := tx.Exec(s.t.Context(), fmt.Sprintf(`DELETE FROM %s x WHERE ROW(%s)::text IN (SELECT ROW(%s)::text FROM %s)`, table, list, list, these))
			if err != nil {
				return err
			}
			added, err := tx.Exec(s.t.Context(), fmt.Sprintf(`INSERT INTO %s (%s) SELECT %s FROM %s`, table, list, list, by))
			if err == nil && removed.RowsAffected() != added.RowsAffected() {
				err = fmt.Errorf("%d rows were replaced by %d", removed.RowsAffected(), added.RowsAffected())
			}
			return err
		})
	}
	_, err := conn.Exec(s.t.Context(), fmt.Sprintf(`DROP TABLE IF EXISTS kept, edited;
		CREATE TEMP TABLE kept AS SELECT ctid::text AS place, %s FROM %s x WHERE (%s) OR (%s); CREATE TEMP TABLE edited AS TABLE kept; %s`,
		list, table, rows[0], rows[1], edit), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	var found int
	must(s.t, conn.QueryRow(s.t.Context(), fmt.Sprintf(`SELECT (SELECT count(*) FROM kept),
		EXISTS (SELECT %[1]s::text FROM kept x EXCEPT SELECT %[1]s::text FROM edited x)`, `ROW(`+list+`)`)).Scan(&found, &changed))
	if want := 2 - strings.Count(rows[1], "false"); found < want {
		s.t.Fatalf("%s: %d rows, want %d", name, found, want)
	}
	if !changed {
		return false
	}
	err = replace("kept", "edited")
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(refused.Code, "23") {
		return false // there is no such row: another has its primary key, or it lacks what every row has
	}
	must(s.t, err)
	noticed := probe(s, name)
	must(s.t, replace("edited", "kept"))
	reason, harmless := s.harmless[name]
	if noticed == harmless {
		s.t.Errorf("%s: noticed %v, and listed as harmless because %q", name, noticed, reason)
	}
	delete(s.harmless, name)
	return true
}

// startSwapping makes a vault in which the columns of a row, and the rows of a table,
// differ in all that they can. Its engines end, so that they write nothing over what is
// edited.
func startSwapping(t *testing.T) *swapping {
	s := &swapping{t: t, api: vaulttest.ServiceAccount("payments", "api", "production"), harmless: maps.Clone(harmlessSwaps)}
	s.api.RequestID = "request-1"
	dsn, root := testkit.Postgres(t), vaulttest.Root(t)
	t.Run("set up", func(t *testing.T) {
		s.Env = vaulttest.StartWith(t, vaulttest.Config{DSN: dsn, Root: root, NoRedis: true})
		s.write(t)
		s.writeLog(t)
	})
	if t.Failed() {
		t.FailNow()
	}
	// A writer whose last row no anchor holds.
	_, err := read(t, s.engine(), s.Admin, secret.Ref{Path: path("p/two"), Version: 1})
	must(t, err)
	exec(t, s.Env, `INSERT INTO swapped_writers SELECT 3, writer FROM audit WHERE mac <> '' ORDER BY id DESC LIMIT 1`)
	s.reader = s.engine()
	s.before = s.ask(s.reader)
	for _, outcome := range s.before {
		if strings.HasSuffix(outcome, isTampered) {
			t.Fatal(outcome)
		}
	}
	var noticed bool
	if s.holders, noticed = s.askHolders(); noticed {
		t.Fatal(s.holders)
	}
	s.rotations = toldOfRotations(t, s.reader, s.Admin, "p/one", "p/two")
	s.keyed = operation{action: audit.Put, caller: s.Admin, path: "p/one", value: "value of p/one", key: "k", expected: new(int64(0))}
	if s.repeated = s.keyed.do(t.Context(), s.reader); !strings.Contains(s.repeated, "Version:1 ") {
		t.Fatalf("repeated: %s", s.repeated)
	}
	return s
}

func (s *swapping) write(t *testing.T) {
	env, ctx, admin := s.Env, t.Context(), s.Admin
	writer := admin
	writer.Name = "another"
	env.AllowAll(t, writer, "p/two")
	for range 3 { // so that its policies have another revision than the administrator's
		env.Sync(t, "default")
		s.sync(t)
	}
	by := admin
	put := func(p string, change func(*secret.PutRequest)) {
		t.Helper()
		r := secret.PutRequest{Path: path(p), Value: vaulttest.Value(t, "value of "+p)}
		if change != nil {
			change(&r)
		}
		_, err := env.Engine.Put(ctx, by, r)
		must(t, err)
	}
	keyed := func(r *secret.PutRequest) { r.IdempotencyKey, r.ExpectedVersion = "k", new(int64(0)) }
	described := func(r *secret.PutRequest) {
		r.Description, r.Tags, r.RotateAfterDays, r.MaxVersions = new("about/"+r.Path.String()), map[string]string{"a": r.Path.String()}, new(30), new(20)
		r.Access = &secret.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"}}
	}
	put("p/one", keyed)
	must(t, env.Engine.Delete(ctx, admin, path("p/one")))
	put("p/one", described) // 3
	for range 6 {
		put("p/one", nil)
	}
	put("p/one", func(r *secret.PutRequest) { r.Pending = true }) // 10
	put("p/one", nil)
	must(t, env.Engine.DeleteVersions(ctx, admin, path("p/one"), 4, 5))
	must(t, env.Engine.DestroyVersions(ctx, admin, path("p/one"), 5))
	for _, to := range []int64{7, 8} {
		_, err := env.Engine.Rollback(ctx, admin, secret.Ref{Path: path("p/one"), Version: to}, nil)
		must(t, err)
	}
	put("p/two", nil)
	put("p/two", func(r *secret.PutRequest) { r.IdempotencyKey = "k" })
	_, err := env.Engine.Rollback(ctx, admin, secret.Ref{Path: path("p/two")}, nil)
	must(t, err)
	put("p/two", nil)
	by = writer
	put("p/two", nil)
	by = admin
	for _, p := range []string{"p/gone", "p/destroyed"} {
		put(p, nil)
		must(t, env.Engine.Delete(ctx, admin, path(p)))
	}
	must(t, env.Engine.Destroy(ctx, admin, path("p/destroyed")))
	rotate(t, env.Engine, admin)
	s.acknowledge(t)
	s.writeRotations(t)
}

// acknowledge makes consumers in two clusters that differ in everything.
func (s *swapping) acknowledge(t *testing.T) {
	one, two := vaultSecret(t, "x", "RollingOut", 0, 2, "p/one", 8), vaultSecret(t, "y", "Synced", 4, 7, "p/two", 4)
	two.Kind, two.Namespace = "Other", "orders"
	for range 2 { // so that since is not when they were seen last
		one.Rolled++
		two.Rolled++
		must(t, s.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{one}))
		must(t, s.Engine.Acknowledge(t.Context(), "two", []secret.Acknowledgement{two}))
	}
	one.Rolled = 1
	must(t, s.Engine.Acknowledge(t.Context(), "one", []secret.Acknowledgement{one})) // another revision than the other's
}

// sync makes two policies of the cluster default.
func (s *swapping) sync(t *testing.T) {
	var set []policy.Policy
	for name, rule := range map[string]policy.Rule{
		"a": {Effect: policy.Allow, Capabilities: []policy.Capability{policy.List, policy.Read}},
		"b": {Effect: policy.Deny, Capabilities: []policy.Capability{policy.Delete}},
	} {
		pattern, err := policy.ParsePattern("p/**")
		must(t, err)
		rule.Paths = []policy.Pattern{pattern}
		rule.Subjects = policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "payments", Name: "api"}}}
		p, err := policy.New(name, []policy.Rule{rule})
		must(t, err)
		set = append(set, p)
	}
	_, err := s.Engine.ReplacePolicies(t.Context(), "default", set)
	must(t, err)
}

// writeLog writes the rows of the audit log that are edited: those of two writers, of
// callers that differ in everything, and an anchor.
func (s *swapping) writeLog(t *testing.T) {
	stranger := vaulttest.ServiceAccount("web", "front", "staging")
	stranger.RequestID, stranger.Address = "request-2", "192.0.2.1"
	one, two := s.engine(), s.engine()
	for range 3 {
		_, _ = read(t, one, stranger, ref(t, "p/two", 3))
		_, _ = read(t, one, s.api, ref(t, "p/one", 0))
	}
	for range 5 {
		_, _ = read(t, two, s.Admin, ref(t, "p/one", 0))
	}
	replica := s.Open(t) // anchors all heads, and with a writer of its own
	conn, deadline := connect(t, s.Env), time.After(30*time.Second)
	for anchored := false; !anchored; {
		must(t, conn.QueryRow(t.Context(), `SELECT NOT EXISTS (SELECT FROM audit_writers WHERE seq > anchored
			AND writer IN (SELECT writer FROM audit WHERE request_id = 'request-2' OR caller = 'user:admin'))`).Scan(&anchored))
		select {
		case <-deadline:
			t.Fatal("the heads are not anchored")
		case <-time.After(10 * time.Millisecond):
		}
	}
	wantRead(t, replica, s.Admin, ref(t, "p/two", 1), "value of p/two")
	exec(t, s.Env, `CREATE TABLE swapped_writers AS
		SELECT 0 AS n, max(writer::text)::uuid AS writer FROM audit WHERE request_id = 'request-2'
		UNION SELECT 1, max(writer::text)::uuid FROM (SELECT writer FROM audit WHERE action = 'read' AND caller = 'user:admin' GROUP BY writer HAVING count(*) = 5) AS w
		UNION SELECT 2, max(writer::text)::uuid FROM (SELECT writer FROM audit WHERE heads <> '' AND seq = 1) AS w`)
}

// engine is one that has read nothing yet.
func (s *swapping) engine() *vault.Engine {
	s.t.Helper()
	e, _ := newEngine(s.t, s.Env, vault.Config{Logger: slog.New(slog.DiscardHandler)})
	return e
}

// ask is everything that an administrator and a service account can be told, on e.
func (s *swapping) ask(e *vault.Engine) (outcomes []string) {
	numbers := map[string][]int64{"p/one": {1, 2, 4, 5, 7, 8, 10}, "p/two": {2, 4}}
	for _, p := range []string{"p/one", "p/two", "p/gone", "p/destroyed"} {
		ask := []operation{
			{action: audit.Read, caller: s.Admin}, {action: audit.Read, caller: s.api}, {action: audit.Metadata, caller: s.api},
			{action: audit.Versions, caller: s.Admin}, {action: audit.Read, caller: s.Admin, label: secret.Previous},
		}
		for _, version := range numbers[p] {
			ask = append(ask, operation{action: audit.Read, caller: s.Admin, version: version})
		}
		for _, o := range ask {
			o.path = p
			outcomes = append(outcomes, o.String()+": "+o.do(s.t.Context(), e))
		}
	}
	for _, caller := range []secret.Caller{s.Admin, s.api} {
		listed, err := e.List(s.t.Context(), caller, secret.Prefix{}, secret.Path{}, 0)
		outcome := fmt.Sprintf("%+v", listed)
		if err != nil {
			outcome = outcomeOf(err)
		}
		outcomes = append(outcomes, "list by "+caller.String()+": "+outcome)
	}
	return outcomes
}

// compare fails the test when an operation answers what it did not answer before, but for
// a denial. It reports whether one noticed the edit.
func (s *swapping) compare(name string, after []string) (noticed bool) {
	for i, outcome := range after {
		switch {
		case strings.HasSuffix(outcome, ": "+isTampered):
			noticed = true
		case outcome != s.before[i] && !strings.HasSuffix(outcome, ": "+denied):
			s.t.Errorf("%s:\n now %s\nfrom %s", name, outcome, s.before[i])
		}
	}
	return noticed
}

func (s *swapping) answers(name string) bool { return s.compare(name, s.ask(s.reader)) }

// decides looks with an engine that knows the policies and with one that does not. The
// first goes on with what it has verified, or notices.
func (s *swapping) decides(name string) bool {
	s.compare(name, s.ask(s.reader))
	return s.compare(name, s.ask(s.engine()))
}

// repeats sends a write with an idempotency key again. It expected that the path was not
// there, so that it is a conflict, and writes nothing, when its key is not found.
func (s *swapping) repeats(name string) bool {
	outcome := s.keyed.do(s.t.Context(), s.reader)
	if outcome != isTampered && outcome != s.repeated && outcome != conflict {
		s.t.Errorf("%s: a repeated write answers %s", name, outcome)
	}
	return outcome == isTampered
}

// keys looks at the keyring's status, and whether versions still open.
func (s *swapping) keys(name string) bool {
	if s.compare(name, s.ask(s.engine())) {
		s.t.Errorf("%s: the rows of keys only describe them, and versions do not open", name)
	}
	status, err := s.reader.KeyringStatus(s.t.Context(), s.Admin)
	must(s.t, err)
	return len(status.Findings) > 0
}

// askHolders is who has p/one and p/two, but for what goes by the order of their reads.
func (s *swapping) askHolders() (outcomes []string, noticed bool) {
	for _, p := range []string{"p/one", "p/two"} {
		found, err := s.reader.Consumers(s.t.Context(), s.Admin, path(p))
		noticed = noticed || errors.Is(err, secret.ErrTampered)
		outcome := "has"
		if err != nil {
			outcome = outcomeOf(err)
		}
		for _, c := range found {
			outcome += fmt.Sprintf(" %s uid %s version %d %d/%d", c.String(), c.UID, c.Version, c.Rolled, c.Workloads)
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes, noticed
}

// consumers asks who has the paths. That somebody has one is only taken back by a harmless swap.
func (s *swapping) consumers(name string) bool {
	outcomes, noticed := s.askHolders()
	for i, outcome := range outcomes {
		if _, harmless := harmlessSwaps[name]; !noticed && !harmless && outcome != s.holders[i] {
			s.t.Errorf("%s:\n now %s\nfrom %s", name, outcome, s.holders[i])
		}
	}
	return noticed
}

// log verifies the audit log.
func (s *swapping) log(string) bool { return len(verify(s.t, s.Env, s.engine()).Findings) > 0 }
