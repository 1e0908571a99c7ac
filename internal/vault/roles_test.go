package vault_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/store"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// as runs one statement on a connection of a role's own.
func as(t testing.TB, dsn, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), sql)
	return err
}

// openAs opens an engine with the addresses given, and returns what it logged so far.
func openAs(t testing.TB, env *vaulttest.Env, ordinary, owner string) (*vault.Engine, string, error) {
	t.Helper()
	var log testkit.Output // the engine goes on to write
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
		DatabaseURL: ordinary, OwnerURL: owner, Root: env.Root, Clock: time.Now, KeyringEvery: time.Hour,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		return nil, "", err
	}
	said := log.String()
	t.Cleanup(closeEngine)
	return engine, said, nil
}

// TestOrdinaryRoleCanOnlyAddToTheLog, by the whole log and by its partitions, also those that are made later in a
// database that gives every role all rights on new tables.
func TestOrdinaryRoleCanOnlyAddToTheLog(t *testing.T) {
	clock := &setClock{now: time.Now()}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	env.Put(t, "a/b", "v")
	exec(t, env, `ALTER DEFAULT PRIVILEGES FOR ROLE `+env.Roles.OwnerName+` GRANT ALL ON TABLES TO `+env.Roles.OrdinaryName)
	clock.Set(time.Now().AddDate(0, 2, 0))
	maintain(t, env.Engine)

	statements := []string{
		`DELETE FROM audit_writers`, `TRUNCATE audit_writers`, `DROP TABLE audit_writers`,
		`DELETE FROM rotation_runs`, `DELETE FROM rotation_steps`, `UPDATE rotation_steps SET number = 0`,
		`DELETE FROM amendments`, `UPDATE amendments SET revision = 0`, `DELETE FROM secrets`, `DELETE FROM vault`, `TRUNCATE vault`,
		`UPDATE goose_db_version SET is_applied = false`,
		`SELECT setval('audit_id', 1)`, `DROP SEQUENCE audit_id`,
		`ALTER TABLE audit DETACH PARTITION audit_first`, `ALTER TABLE audit DISABLE TRIGGER ALL`,
		`CREATE TABLE mine (x int)`, `CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `CREATE RULE mine AS ON INSERT TO audit DO INSTEAD NOTHING`,
		`SET ROLE ` + env.Roles.OwnerName, `ALTER TABLE audit OWNER TO CURRENT_USER`, `DROP SCHEMA public CASCADE`,
	}
	tables := parts(t, env)
	if len(tables) < 5 {
		t.Fatalf("partitions: %s", tables)
	}
	for _, table := range append(tables, "audit", "audit_default") {
		statements = append(statements, `UPDATE `+table+` SET caller = 'x'`, `UPDATE `+table+` SET caller = 'x' WHERE false`, `DELETE FROM `+table, `TRUNCATE `+table,
			`DROP TABLE `+table, `BEGIN; LOCK TABLE `+table+` IN ACCESS EXCLUSIVE MODE`)
		if table != "audit" {
			statements = append(statements, `SELECT FROM `+table, `INSERT INTO `+table+` SELECT * FROM audit LIMIT 0`)
		}
	}
	for _, sql := range statements {
		var pgErr *pgconn.PgError
		if err := as(t, env.Roles.Ordinary, sql); !errors.As(err, &pgErr) || pgErr.Code != "42501" {
			t.Errorf("%s: %v, want that it is forbidden", sql, err)
		}
	}
	for _, sql := range []string{`SELECT count(*) FROM audit`, `INSERT INTO audit SELECT * FROM audit LIMIT 0`, `SELECT nextval('audit_id')`} {
		if err := as(t, env.Roles.Ordinary, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if report := wantWhole(t, env, env.Engine, "with two roles"); report.Erasable {
		t.Error("the report says that the role may change the log")
	}
}

// granted are the rights that the ordinary role or everybody was granted in the schema, also on a column, and on the schema itself.
func granted(t testing.TB, env *vaulttest.Env) []string {
	t.Helper()
	return texts(t, env, `SELECT name || ': ' || string_agg(DISTINCT privilege_type, ' ' ORDER BY privilege_type) FROM (
			SELECT relname::text AS name, relacl AS acl FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'S')
			UNION ALL SELECT relname || '.' || attname, attacl FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace
			UNION ALL SELECT 'schema ' || nspname, nspacl FROM pg_namespace WHERE nspname = 'public') things,
		aclexplode(acl) WHERE grantee IN (0, $1::text::regrole) GROUP BY name ORDER BY name COLLATE "C"`, env.Roles.OrdinaryName)
}

// TestOrdinaryRoleHasTheseRights and no others, whatever it or everybody was granted before, by hand or as tables and
// sequences were made: a start puts it right, and so does the making of a month.
func TestOrdinaryRoleHasTheseRights(t *testing.T) {
	clock := &setClock{now: time.Now()}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	want := []string{
		"amendments: INSERT SELECT",
		"audit: INSERT SELECT",
		"audit_id: USAGE",
		"audit_writers: INSERT SELECT UPDATE",
		"changes: DELETE INSERT SELECT UPDATE",
		"changes_position_seq: USAGE",
		"changes_removed: DELETE INSERT SELECT UPDATE",
		"consumer_sets: DELETE INSERT SELECT UPDATE",
		"consumers: DELETE INSERT SELECT UPDATE",
		"goose_db_version: SELECT",
		"goose_db_version_id_seq: USAGE",
		"idempotency_keys: DELETE INSERT SELECT UPDATE",
		"key_encryption_keys: DELETE INSERT SELECT UPDATE",
		"notifications: DELETE INSERT SELECT UPDATE",
		"overdue_notices: DELETE INSERT SELECT UPDATE",
		"policies: DELETE INSERT SELECT UPDATE",
		"policy_sets: DELETE INSERT SELECT UPDATE",
		"readers: DELETE INSERT SELECT UPDATE",
		"replicas: DELETE INSERT SELECT UPDATE",
		"rotation_runs: INSERT SELECT UPDATE",
		"rotation_sets: DELETE INSERT SELECT UPDATE",
		"rotation_steps: INSERT SELECT",
		"rotations: DELETE INSERT SELECT UPDATE",
		"schema public: USAGE", // everybody's, by Postgres itself
		"secret_versions: INSERT SELECT UPDATE",
		"secrets: INSERT SELECT UPDATE",
		"vault: INSERT SELECT UPDATE",
	}
	if diff := cmp.Diff(want, granted(t, env)); diff != "" {
		t.Fatalf("at first (-want +got)\n%s", diff)
	}
	app := env.Roles.OrdinaryName
	exec(t, env, `GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC, `+app+`; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC, `+app+`;
		GRANT UPDATE (caller) ON audit TO `+app+`; GRANT UPDATE (caller) ON audit_first TO PUBLIC; GRANT CREATE ON SCHEMA public TO `+app+`;
		REVOKE INSERT ON audit FROM `+app+`; REVOKE USAGE ON SEQUENCE audit_id FROM `+app)
	env.Open(t)
	if diff := cmp.Diff(want, granted(t, env)); diff != "" {
		t.Errorf("after a start (-want +got)\n%s", diff)
	}
	exec(t, env, `ALTER DEFAULT PRIVILEGES FOR ROLE `+env.Roles.OwnerName+` GRANT ALL ON TABLES TO PUBLIC, `+app)
	made := len(parts(t, env))
	clock.Set(time.Now().AddDate(0, 2, 0))
	maintain(t, env.Engine)
	if len(parts(t, env)) == made {
		t.Fatal("no month was made")
	}
	if diff := cmp.Diff(want, granted(t, env)); diff != "" {
		t.Errorf("after months were made (-want +got)\n%s", diff)
	}
	exec(t, env, `GRANT DELETE ON audit TO `+app)
	maintain(t, env.Engine)
	if report := verify(t, env, env.Engine); !report.Erasable {
		t.Error("a right by hand is not found before it is taken away")
	}
	maintain(t, env.Engine)
	if diff := cmp.Diff(want, granted(t, env)); diff != "" {
		t.Errorf("after it was found (-want +got)\n%s", diff)
	}
	if report := verify(t, env, env.Engine); report.Erasable {
		t.Error("a right that was taken away is reported")
	}
}

// TestRightsWhileAMonthIsDropped: those of a partition that goes meanwhile are not in the way.
func TestRightsWhileAMonthIsDropped(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	made := parts(t, env)
	commit := holds(t, env, `DROP TABLE `+made[len(made)-2]) // the one after is audit_first
	ordinary, err := store.Open(t.Context(), env.Roles.Ordinary)
	must(t, err)
	defer ordinary.Close()
	owner := ownerStore(t, env)
	given := make(chan error, 1)
	go func() { given <- owner.GrantTo(t.Context(), ordinary) }()
	if !waits(t, env, `a.usename = '`+env.Roles.OwnerName+`'`, given) {
		t.Error("nothing was waited for")
	}
	commit()
	must(t, <-given)
}

// TestRoleThatMayEraseIsNamed in the log and in the report of a verification, with the reason.
func TestRoleThatMayEraseIsNamed(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	app := env.Roles.OrdinaryName
	database := strings.TrimSuffix(app, "_app")
	other := app + "_other"
	// A member that inherits nothing: what the other role may takes SET ROLE.
	become := func(attributes string) string {
		return `CREATE ROLE ` + other + ` ` + attributes + `; ALTER ROLE ` + app + ` NOINHERIT; GRANT ` + other + ` TO ` + app
	}
	leave := `DROP ROLE ` + other + `; ALTER ROLE ` + app + ` INHERIT`
	for name, c := range map[string]struct{ grant, revoke, want string }{
		"nothing":      {`SELECT`, `SELECT`, "can only add rows"},
		"delete":       {`GRANT DELETE ON audit_first TO ` + app, `REVOKE DELETE ON audit_first FROM ` + app, "it may DELETE audit_first"},
		"truncate":     {`GRANT TRUNCATE ON audit_writers TO ` + app, `REVOKE TRUNCATE ON audit_writers FROM ` + app, "it may TRUNCATE audit_writers"},
		"a column":     {`GRANT UPDATE (caller) ON audit TO ` + app, `REVOKE UPDATE (caller) ON audit FROM ` + app, "it may UPDATE audit"},
		"trigger":      {`GRANT TRIGGER ON audit TO ` + app, `REVOKE TRIGGER ON audit FROM ` + app, "it may TRIGGER audit"},
		"everybody":    {`GRANT DELETE ON audit TO PUBLIC`, `REVOKE DELETE ON audit FROM PUBLIC`, "it may DELETE audit"},
		"all data":     {`GRANT pg_write_all_data TO ` + app, `REVOKE pg_write_all_data FROM ` + app, "it may DELETE audit"},
		"member":       {`GRANT ` + env.Roles.OwnerName + ` TO ` + app, `REVOKE ` + env.Roles.OwnerName + ` FROM ` + app, "it owns the table audit"},
		"schema":       {`GRANT CREATE ON SCHEMA public TO PUBLIC`, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`, "it may CREATE in the schema public"},
		"own schema":   {`ALTER SCHEMA public OWNER TO ` + app, `ALTER SCHEMA public OWNER TO ` + env.Roles.OwnerName + `; GRANT USAGE ON SCHEMA public TO ` + app, "it owns the schema public"},
		"database":     {`GRANT CREATE ON DATABASE ` + database + ` TO ` + app, `REVOKE CREATE ON DATABASE ` + database + ` FROM ` + app, "it may CREATE schemas in the database"},
		"own database": {`ALTER DATABASE ` + database + ` OWNER TO ` + app, `ALTER DATABASE ` + database + ` OWNER TO ` + env.Roles.OwnerName, "it owns the database"},
		"roles":        {`ALTER ROLE ` + app + ` CREATEROLE`, `ALTER ROLE ` + app + ` NOCREATEROLE`, "it may create roles"},
		"programs":     {`GRANT pg_execute_server_program TO ` + app, `REVOKE pg_execute_server_program FROM ` + app, "it is a member of pg_execute_server_program"},
		"files":        {`GRANT pg_write_server_files TO ` + app, `REVOKE pg_write_server_files FROM ` + app, "it is a member of pg_write_server_files"},
		"superuser":    {`ALTER ROLE ` + app + ` SUPERUSER`, `ALTER ROLE ` + app + ` NOSUPERUSER`, "it is a superuser"},
		// What takes SET ROLE first.
		"a superuser's member":  {become(`SUPERUSER`), leave, "as " + other + " it is a superuser"},
		"a creator's member":    {become(`CREATEROLE`), leave, "as " + other + " it may create roles"},
		"an eraser's member":    {become(``) + `; GRANT DELETE ON audit TO ` + other, `REVOKE DELETE ON audit FROM ` + other + `; ` + leave, "as " + other + " it may DELETE audit"},
		"a changer's member":    {become(``) + `; GRANT UPDATE ON audit_first TO ` + other, `REVOKE UPDATE ON audit_first FROM ` + other + `; ` + leave, "as " + other + " it may UPDATE audit_first"},
		"a writer's member":     {become(``) + `; GRANT pg_write_all_data TO ` + other, leave, "it may DELETE audit"},
		"a programmer's member": {become(``) + `; GRANT pg_execute_server_program TO ` + other, leave, "it is a member of pg_execute_server_program"},
		// What reads all and writes nothing.
		"a reader": {`ALTER ROLE ` + app + ` REPLICATION BYPASSRLS; GRANT pg_read_server_files, pg_read_all_data, pg_monitor TO ` + app,
			`ALTER ROLE ` + app + ` NOREPLICATION NOBYPASSRLS; REVOKE pg_read_server_files, pg_read_all_data, pg_monitor FROM ` + app, "can only add rows"},
		"a poor role's member": {become(``), leave, "can only add rows"},
	} {
		t.Run(name, func(t *testing.T) {
			exec(t, env, c.grant)
			defer exec(t, env, c.revoke)
			engine, said, err := openAs(t, env, env.Roles.Ordinary, "")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(said, c.want) {
				t.Errorf("the log does not say %q: %s", c.want, said)
			}
			if report := verify(t, env, engine); report.Erasable != (c.want != "can only add rows") {
				t.Errorf("erasable: %v", report.Erasable)
			}
		})
	}
}

// TestOneRoleBecomesTwo: the old role becomes the owner, and a new one is the ordinary role; or a new owner is given
// what the old role owns, once.
func TestOneRoleBecomesTwo(t *testing.T) {
	start := func(t *testing.T) *vaulttest.Env {
		t.Helper()
		roles := testkit.PostgresRoles(t)
		env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, DSN: roles.Owner})
		env.Put(t, "a/b", "v")
		if report := wantWhole(t, env, env.Engine, "with one role"); !report.Erasable {
			t.Error("the one role is said to add rows only")
		}
		env.Roles, env.DSN = roles, roles.Superuser
		return env
	}
	works := func(t *testing.T, env *vaulttest.Env, engine *vault.Engine) {
		t.Helper()
		wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
		if report := wantWhole(t, env, engine, "with two roles"); report.Erasable {
			t.Error("the ordinary role may change the log")
		}
		wantWhole(t, env, env.Engine, "by the replica of before")
	}
	t.Run("a new ordinary role", func(t *testing.T) {
		env := start(t)
		works(t, env, env.Open(t))
	})
	t.Run("a new owner", func(t *testing.T) {
		env := start(t)
		owner, app := env.Roles.Ordinary, env.Roles.Owner // exchanged
		_, _, err := openAs(t, env, app, owner)
		if !errors.Is(err, vault.ErrOwner) || !strings.Contains(err.Error(), `REASSIGN OWNED BY "`+env.Roles.OwnerName+`" TO "`+env.Roles.OrdinaryName+`"`) {
			t.Fatalf("before the owner is changed: %v", err)
		}
		exec(t, env, `REASSIGN OWNED BY "`+env.Roles.OwnerName+`" TO "`+env.Roles.OrdinaryName+`"`)
		engine, _, err := openAs(t, env, app, owner)
		if err != nil {
			t.Fatal(err)
		}
		works(t, env, engine)
	})
}

func TestRolesThatDoNotFit(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	other := testkit.PostgresRoles(t)
	if _, _, err := openAs(t, env, env.Roles.Ordinary, other.Owner); !errors.Is(err, vault.ErrOwner) || !strings.Contains(err.Error(), "two databases") {
		t.Errorf("an owner of another database: %v", err)
	}
	fresh := testkit.PostgresRoles(t)
	if _, _, err := openAs(t, env, fresh.Ordinary, ""); !errors.Is(err, vault.ErrOwner) {
		t.Errorf("a new database and a role without rights: %v", err)
	}
	exec(t, env, `CREATE SCHEMA elsewhere AUTHORIZATION `+env.Roles.OwnerName+`; GRANT USAGE ON SCHEMA elsewhere TO `+env.Roles.OrdinaryName)
	for _, path := range []string{"elsewhere", "elsewhere, public"} { // by the second it would find the tables, and back up none
		exec(t, env, `ALTER ROLE `+env.Roles.OrdinaryName+` SET search_path = `+path)
		if _, _, err := openAs(t, env, env.Roles.Ordinary, env.Roles.Owner); !errors.Is(err, vault.ErrOwner) || !strings.Contains(err.Error(), "search_path = \"public\"") {
			t.Errorf("a role whose search path is %s: %v", path, err)
		}
	}
}

// TestOwnerOwnsEverything: what ALTER TABLE … OWNER, table by table, leaves out is named.
func TestOwnerOwnsEverything(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	owner := ownerStore(t, env)
	must(t, owner.CheckOwner(t.Context()))
	for _, thing := range []string{"TABLE secrets", "TABLE audit", "TABLE audit_first", "SEQUENCE audit_id"} {
		_, name, _ := strings.Cut(thing, " ")
		exec(t, env, `ALTER `+thing+` OWNER TO `+env.Roles.OrdinaryName)
		if err := owner.CheckOwner(t.Context()); !errors.Is(err, vault.ErrOwner) || !strings.Contains(err.Error(), name+" belongs to "+env.Roles.OrdinaryName) {
			t.Errorf("%s of the ordinary role: %v", thing, err)
		}
		exec(t, env, `ALTER `+thing+` OWNER TO `+env.Roles.OwnerName)
	}
	must(t, owner.CheckOwner(t.Context()))
}

// TestOrdinaryRoleAlone: without its owner a vault is served, and the months are not made, which is said.
func TestOrdinaryRoleAlone(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "v")
	made := parts(t, env)
	exec(t, env, `DROP TABLE `+made[len(made)-2]) // the one after is audit_first
	engine, said, err := openAs(t, env, env.Roles.Ordinary, "")
	if err != nil {
		t.Fatal(err)
	}
	wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "v")
	if !strings.Contains(said, "the partitions of the audit log were not looked after") || slices.Equal(made, parts(t, env)) {
		t.Errorf("it logged %s", said)
	}
	wantWhole(t, env, engine, "alone")
}

// TestBackupByTheOrdinaryRole has the tables and the numbers of the sequences that the superuser sees.
func TestBackupByTheOrdinaryRole(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "v")
	contents := func(dsn string) (found store.Contents) {
		s, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		err = s.ReadSnapshot(t.Context(), func(snapshot *store.Snapshot) error {
			found = snapshot.Contents
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	want, got := contents(env.DSN), contents(env.Roles.Ordinary)
	if len(want.Sequences) < 2 {
		t.Fatalf("sequences: %v", want.Sequences)
	}
	for name := range want.Sequences { // rows are written meanwhile
		if got.Sequences[name] < want.Sequences[name] {
			t.Errorf("sequence %s is at %d, and %d for the superuser", name, got.Sequences[name], want.Sequences[name])
		}
	}
	want.Sequences, got.Sequences = nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-superuser +ordinary)\n%s", diff)
	}
}
