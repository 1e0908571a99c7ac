package vault_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// columnEdits change one column each: what is set, or "" for a column that Postgres
// itself keeps.
var columnEdits = map[string]string{
	"secrets.id": `id = gen_random_uuid()`, "secrets.path": `path = path || 'x'`,
	"secrets.current_version": `current_version = 2`, "secrets.first_version": `first_version = 0`,
	"secrets.last_version": `last_version = 3`, "secrets.revision": `revision = revision + 1`,
	"secrets.description": `description = 'x'`, "secrets.tags": `tags = '{"a":"b"}'`,
	"secrets.rotate_after_days": `rotate_after_days = 1`, "secrets.allowed_services": `allowed_services = '{*}'`,
	"secrets.allowed_environments": `allowed_environments = '{*}'`, "secrets.deleted_at": `deleted_at = now()`,
	"secrets.mac": `mac = ''`, "secrets.previous_version": `previous_version = 0`,
	"secrets.pending_version": `pending_version = 1`, "secrets.max_versions": `max_versions = 1`,
	"secrets.amended_revision": `amended_revision = 0`, "secrets.destroyed_at": `destroyed_at = now()`,

	"secret_versions.secret_id": `secret_id = gen_random_uuid()`, "secret_versions.version": `version = version + 10`,
	"secret_versions.wrapped_key": `wrapped_key = set_byte(wrapped_key, 40, get_byte(wrapped_key, 40) # 1)`,
	"secret_versions.box":         `box = set_byte(box, 20, get_byte(box, 20) # 1)`,
	"secret_versions.created_at":  `created_at = created_at - interval '1 microsecond'`,
	"secret_versions.created_by":  `created_by = 'user:x'`, "secret_versions.mac": `mac = ''`,
	"secret_versions.deletion": `deletion = true`, "secret_versions.deleted_at": `deleted_at = now()`,
	"secret_versions.destroyed_at": `destroyed_at = now()`, "secret_versions.amended_revision": `amended_revision = 7`,
	"secret_versions.kek_id": "",

	"amendments.secret_id": `secret_id = gen_random_uuid()`, "amendments.version": `version = 1`,
	"amendments.revision": `revision = revision + 1`,

	// A name that nobody asks for is a row less. This one is the other path's.
	"idempotency_keys.name":    `name = (SELECT name FROM kept k WHERE k.name <> idempotency_keys.name)`,
	"idempotency_keys.request": `request = '\x00'`, "idempotency_keys.secret_id": `secret_id = gen_random_uuid()`,
	"idempotency_keys.version": `version = 2`, "idempotency_keys.created_at": `created_at = created_at - interval '1 microsecond'`,
	"idempotency_keys.mac": `mac = ''`,

	"vault.singleton": `singleton = false`, "vault.id": `id = gen_random_uuid()`, "vault.created_at": `created_at = created_at - interval '1 day'`,
	"vault.wrapped_keyset": `wrapped_keyset = set_byte(wrapped_keyset, 40, get_byte(wrapped_keyset, 40) # 1)`,

	"policy_sets.cluster": `cluster = cluster || 'x'`, "policy_sets.revision": `revision = revision + 1`, "policy_sets.mac": `mac = ''`,
	"policies.cluster": `cluster = cluster || 'x'`, "policies.name": `name = name || 'x'`, "policies.rules": `rules = '[]'`,

	"consumer_sets.cluster": `cluster = cluster || 'x'`, "consumer_sets.revision": `revision = revision + 1`, "consumer_sets.mac": `mac = ''`,
	"consumers.cluster": `cluster = cluster || 'x'`, "consumers.kind": `kind = kind || 'x'`, "consumers.namespace": `namespace = namespace || 'x'`,
	"consumers.name": `name = name || 'x'`, "consumers.path": `path = path || 'x'`, "consumers.uid": `uid = uid || 'x'`,
	"consumers.version": `version = version + 1`, "consumers.workloads": `workloads = workloads + 1`, "consumers.rolled": `rolled = rolled + 1`,
	"consumers.state": `state = state || 'x'`, "consumers.since": `since = since - interval '1 microsecond'`,
	"consumers.seen_at": `seen_at = seen_at - interval '1 microsecond'`, "consumers.mac": `mac = ''`,

	"readers.path": `path = path || 'x'`, "readers.cluster": `cluster = cluster || 'x'`, "readers.caller_kind": `caller_kind = caller_kind || 'x'`,
	"readers.caller": `caller = caller || 'x'`, "readers.namespace": `namespace = namespace || 'x'`, "readers.version": `version = version + 1`,
	"readers.writer": `writer = gen_random_uuid()`, "readers.read_at": `read_at = read_at - interval '1 microsecond'`, "readers.mac": `mac = ''`,

	"rotation_sets.cluster": `cluster = cluster || 'x'`, "rotation_sets.revision": `revision = revision + 1`, "rotation_sets.mac": `mac = ''`,
	"rotations.cluster": `cluster = cluster || 'x'`, "rotations.name": `name = name || 'x'`,
	"rotations.definition": `definition = replace(definition::text, 'payments', 'web')::json`, "rotations.since": `since = since - interval '1 day'`,

	"rotation_runs.id": `id = gen_random_uuid()`, "rotation_runs.cluster": `cluster = cluster || 'x'`, "rotation_runs.name": `name = name || 'x'`,
	"rotation_runs.path": `path = path || 'x'`, "rotation_runs.due_at": `due_at = due_at - interval '1 day'`,
	"rotation_runs.planned_at": `planned_at = planned_at - interval '1 day'`, "rotation_runs.ended": `ended = true`,
	"rotation_runs.revision": `revision = revision + 1`, "rotation_runs.record": `record = replace(record::text, 'planned', 'set')::json`,
	"rotation_runs.mac": `mac = ''`, "rotation_runs.epoch": `epoch = epoch + 1`, "rotation_runs.leased_until": `leased_until = now() + interval '1 day'`,
	"rotation_runs.look_at": `look_at = now() + interval '1 day'`,
	"rotation_steps.run_id": `run_id = gen_random_uuid()`, "rotation_steps.number": `number = number + 1`, "rotation_steps.state": `state = 'done'`,
	"rotation_steps.detail": `detail = 'x'`, "rotation_steps.at": `at = at - interval '1 day'`, "rotation_steps.mac": `mac = ''`,

	"notifications.event": `event = event || 'x'`, "notifications.sink": `sink = 'chat'`, "notifications.at": `at = at - interval '1 day'`,
	"notifications.body": `body = replace(body::text, 'started', 'done')::json`, "notifications.mac": `mac = ''`, "notifications.epoch": `epoch = epoch + 1`,
	"notifications.leased_until": `leased_until = now() + interval '1 day'`, "notifications.look_at": `look_at = now() + interval '1 day'`,

	"overdue_notices.path": `path = path || 'x'`, "overdue_notices.due_at": `due_at = due_at - interval '1 day'`,
	"overdue_notices.told_at": `told_at = told_at - interval '1 day'`, "overdue_notices.times": `times = times + 1`,

	// Of an identity Postgres takes only the next number.
	"changes.position": `position = DEFAULT`, "changes.xid": `xid = pg_current_xact_id()`, "changes.written_at": `written_at = written_at - interval '1 day'`,
	"changes.kind": `kind = 'metadata'`, "changes.path": `path = path || 'x'`, "changes.version": `version = version + 1`,
	"changes.cluster": `cluster = 'x'`,

	"changes_removed.singleton": `singleton = false`, "changes_removed.below": `below = pg_current_xact_id()`,
}

// harmlessColumns are those whose edit nobody notices, and why nothing comes of it: all is served as before.
var harmlessColumns = map[string]string{
	"vault.singleton":            "it only keeps a second row from being made, and is never asked for",
	"vault.created_at":           "it is for people who look at the table, and is never asked for",
	"changes_removed.singleton":  "as of vault",
	"rotation_runs.epoch":        "who works on the run loses it, and whoever takes it next does again what can be done again",
	"rotation_runs.leased_until": "the run waits longer, or a second replica takes it: of the two only the second can write",
	"rotation_runs.look_at":      "the run waits longer, or is looked at sooner",
	"notifications.epoch":        "who delivers it loses it, and another replica delivers it again, under the same id",
	"notifications.leased_until": "it is delivered later, or twice: who can write here can remove it too",
	"notifications.look_at":      "as leased_until",
	"overdue_notices.path":       "it only says when a reminder comes again; the list of what is overdue does not ask it",
	"overdue_notices.due_at":     "as path",
	"overdue_notices.told_at":    "as path",
	"overdue_notices.times":      "as path",
	"readers.path":               "it is a row less, which nobody notices until its reader reads again",
}

// columnsElsewhere are the tables whose columns other tests edit, and which.
var columnsElsewhere = map[string]string{
	"audit":               "TestVerifyFindsAnEditOfAnyColumn",
	"audit_writers":       "TestVerifyFindsAnEditOfAnyColumn",
	"key_encryption_keys": "TestTamperedKeyRows",
	"replicas":            "TestTamperedKeyRows",
	"goose_db_version":    "none: it is the migrations' own, which are the same for every vault; who may write it may alter the tables too",
}

// columnProbes look at what comes of an edit of a column of a table.
var columnProbes = map[string]func(*edited){
	"secrets": (*edited).reads, "secret_versions": (*edited).reads, "amendments": (*edited).reads,
	"idempotency_keys": (*edited).repeats, "vault": (*edited).opens,
	"policy_sets": (*edited).decides, "policies": (*edited).decides,
	"consumer_sets": (*edited).consumers, "consumers": (*edited).consumers, "readers": (*edited).consumers,
	"rotation_sets": (*edited).rotates, "rotations": (*edited).rotates, "rotation_runs": (*edited).runs, "rotation_steps": (*edited).shows,
	"notifications": (*edited).tells, "overdue_notices": (*edited).tells,
	"changes": (*edited).follows, "changes_removed": (*edited).follows,
}

// edited is a vault of which one column was edited.
type edited struct {
	*vaulttest.Env
	t       *testing.T
	quiet   *vault.Engine // logs nothing
	column  string
	request secret.PutRequest // with an idempotency key, and answered before
	api     secret.Caller     // may read p/one by policies that only a new engine has to verify
	place   changes.Position  // in the change feed, before the edit
	changes int               // written so far
}

// TestEveryColumnIsCovered edits each column there is, of each table there is; one without a case fails.
func TestEveryColumnIsCovered(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Notify: true})
	s := &edited{Env: env, t: t, api: vaulttest.ServiceAccount("payments", "api", "production")}
	s.write()
	conn := connect(t, env)
	tried := map[string]bool{}
	for _, table := range swapSchema(t, conn) {
		if _, elsewhere := columnsElsewhere[table]; elsewhere {
			continue
		}
		probe := columnProbes[table]
		if probe == nil {
			t.Errorf("table %s: no case says how an edit of it is noticed", table)
			continue
		}
		writable := columnNames(t, conn, table, "NEVER")
		for _, column := range columnNames(t, conn, table, "") {
			s.column = table + "." + column
			tried[s.column] = true
			edit, known := columnEdits[s.column]
			if !known {
				t.Errorf("%s: no case says how an edit of it is noticed", s.column)
			}
			if edit != "" {
				s.try(table, strings.Join(writable, ", "), edit, probe)
			}
		}
	}
	for column := range columnEdits {
		if !tried[column] {
			t.Errorf("%s: there is no such column", column)
		}
	}
	s.unchanged() // all is as it was
	if m, err := env.Engine.Put(t.Context(), env.Admin, s.request); err != nil || m.Version != 1 {
		t.Errorf("repeated put: %+v, %v", m, err)
	}
}

// write makes a vault in which every table has a row.
func (s *edited) write() {
	s.t.Helper()
	s.AllowAll(s.t, s.api, "p/**")
	s.request = secret.PutRequest{Path: vaulttest.Path(s.t, "p/one"), Value: vaulttest.Value(s.t, "v"), IdempotencyKey: "k"}
	for _, path := range []string{"p/one", "p/two"} {
		first := s.request
		first.Path = vaulttest.Path(s.t, path)
		_, err := s.Engine.Put(s.t.Context(), s.Admin, first)
		must(s.t, err)
		s.Put(s.t, path, "second")
		_, err = s.Engine.Rollback(s.t.Context(), s.Admin, secret.Ref{Path: first.Path}, nil)
		must(s.t, err)
	}
	must(s.t, s.Engine.Acknowledge(s.t.Context(), "one", []secret.Acknowledgement{vaultSecret(s.t, "x", "Synced", 1, 2, "p/one", 1, "p/two", 1)}))
	wantRead(s.t, s.Engine, s.api, ref(s.t, "p/one", 0), "v")
	s.writeRotations()
	exec(s.t, s.Env, `INSERT INTO changes_removed (below) VALUES ('3')`)
	exec(s.t, s.Env, `INSERT INTO overdue_notices (path, due_at, told_at, times) VALUES ('p/one', now(), now(), 1)`)
}

// columnNames are the columns of a table; generated "NEVER" leaves out those that Postgres itself keeps.
func columnNames(t *testing.T, conn *pgx.Conn, table, generated string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), `SELECT column_name::text FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name = $1 AND $2 IN ('', is_generated) ORDER BY ordinal_position`, table, generated)
	must(t, err)
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(columns) == 0 {
		t.Fatalf("%d columns of %s, %v", len(columns), table, err)
	}
	return columns
}

// try edits a column of all rows, looks, and puts the true rows back.
func (s *edited) try(table, writable, edit string, probe func(*edited)) {
	s.t.Helper()
	where := ""
	if s.column == "idempotency_keys.name" {
		where = `; DELETE FROM idempotency_keys WHERE secret_id = (SELECT id FROM secrets WHERE path = 'p/one')`
	}
	s.change()
	s.place = present(s.t, s.Engine)
	exec(s.t, s.Env, `SELECT pg_current_xact_id()`) // an id between the place and the edit
	exec(s.t, s.Env, `SET session_replication_role = replica; CREATE TABLE kept AS SELECT * FROM `+table+where+
		`; UPDATE `+table+` SET `+edit, pgx.QueryExecModeSimpleProtocol)
	if _, harmless := harmlessColumns[s.column]; harmless {
		s.unchanged()
	} else {
		probe(s)
	}
	exec(s.t, s.Env, `SET session_replication_role = replica; DELETE FROM `+table+`; INSERT INTO `+table+` (`+writable+
		`) OVERRIDING SYSTEM VALUE SELECT `+writable+` FROM kept; DROP TABLE kept`, pgx.QueryExecModeSimpleProtocol)
}

// unchanged: an engine that has read nothing yet serves all, and a follower goes on from its place.
func (s *edited) unchanged() {
	s.t.Helper()
	engine, _ := newEngine(s.t, s.Env, vault.Config{})
	wantRead(s.t, engine, s.Admin, ref(s.t, "p/one", 0), "v")
	wantRead(s.t, engine, s.api, ref(s.t, "p/one", 0), "v")
	s.change() // what comes of the change feed is good from the next change on
	place := present(s.t, s.Engine)
	change := s.change()
	consumer := consume(s.t, s.Engine, place)
	consumer.want(s.t, change)
	must(s.t, consumer.end())
}

// change writes a path of its own, and returns what a follower is told of it.
func (s *edited) change() string {
	s.t.Helper()
	s.changes++
	path := fmt.Sprintf("feed/n%d", s.changes)
	s.Put(s.t, path, "v")
	return "put " + path + " 1"
}

// tells: nobody is told of an event that was changed.
func (s *edited) tells() {
	s.t.Helper()
	_, err := s.quiet.RouteNotifications(s.t.Context(), func(*notification.Event) []string { return []string{"chat"} })
	must(s.t, err)
	claim, err := s.quiet.ClaimNotification(s.t.Context(), "chat", time.Minute)
	if claim != nil || err != nil && !errors.Is(err, secret.ErrTampered) {
		s.t.Errorf("%s: a changed event is told: %v", s.column, err)
	}
}

// repeats: the write is not answered by a row that was changed.
func (s *edited) repeats() {
	s.t.Helper()
	_, err := s.Engine.Put(s.t.Context(), s.Admin, s.request)
	if err == nil {
		s.t.Errorf("%s: a changed row answers", s.column)
	}
	wantError(s.t, err, secret.ErrTampered)
}

// consumers: nothing is said of who has the path.
func (s *edited) consumers() {
	s.t.Helper()
	_, err := s.Engine.Consumers(s.t.Context(), s.Admin, vaulttest.Path(s.t, "p/one"))
	if err == nil {
		s.t.Errorf("%s: a changed row counts", s.column)
	}
	wantError(s.t, err, secret.ErrTampered)
}

// reads: nothing is served.
func (s *edited) reads() {
	s.t.Helper()
	path := "p/one"
	if s.column == "secrets.path" {
		_, err := read(s.t, s.Engine, s.Admin, ref(s.t, path, 0))
		wantError(s.t, err, secret.ErrDenied)
		path = "p/onex"
	}
	s.refuses(s.Engine, s.Admin, path, secret.ErrTampered)
}

func (s *edited) refuses(engine *vault.Engine, caller secret.Caller, path string, want error) {
	s.t.Helper()
	_, err := read(s.t, engine, caller, ref(s.t, path, 0))
	if err == nil {
		s.t.Errorf("%s: a changed row is served", s.column)
		return
	}
	wantError(s.t, err, want)
}

// opens: a process that runs has the vault's id and keyset, and serves on; one that starts serves nothing.
func (s *edited) opens() {
	s.t.Helper()
	wantRead(s.t, s.Engine, s.Admin, ref(s.t, "p/one", 0), "v")
	if s.column == "vault.wrapped_keyset" {
		_, closeEngine, err := vault.Open(s.t.Context(), vault.Options{DatabaseURL: s.DSN, Root: s.Root})
		if err == nil {
			closeEngine()
			s.t.Errorf("%s: a keyset that was changed opens", s.column)
		} else if !strings.Contains(err.Error(), "is this the root key that the vault was made with?") {
			s.t.Errorf("%s: %v", s.column, err)
		}
		_, err = s.Engine.AddKey(s.t.Context(), s.Admin)
		if err == nil {
			s.t.Errorf("%s: a keyset that was changed is gone on from", s.column)
		}
		return
	}
	engine, _ := newEngine(s.t, s.Env, vault.Config{Logger: slog.New(slog.DiscardHandler)})
	s.refuses(engine, s.Admin, "p/one", secret.ErrTampered)
}

// decides: policies that are not as they were written allow nothing, and deny nothing either: that would take Secrets away.
func (s *edited) decides() {
	s.t.Helper()
	want := secret.ErrTampered
	if s.column == "policy_sets.cluster" {
		want = secret.ErrUnavailable // as of a cluster that was never synced
	}
	engine, _ := newEngine(s.t, s.Env, vault.Config{Logger: slog.New(slog.DiscardHandler)})
	s.refuses(engine, s.api, "p/one", want)
}

// follows: a row of the feed only says where to look, so all is served as before. A row that was edited is passed over as one
// that was removed; who has had it, and who may have missed what was removed, is told that its place is lost, and looks at everything.
func (s *edited) follows() {
	s.t.Helper()
	wantError(s.t, consume(s.t, s.Engine, s.place).ended(s.t), secret.ErrPositionLost)
	s.unchanged()
}
