package vault_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

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
}

// TestEveryColumnIsCovered edits each column there is; one without a case fails.
func TestEveryColumnIsCovered(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	request := secret.PutRequest{Path: vaulttest.Path(t, "p/one"), Value: vaulttest.Value(t, "v"), IdempotencyKey: "k"}
	for _, path := range []string{"p/one", "p/two"} {
		first := request
		first.Path = vaulttest.Path(t, path)
		if _, err := env.Engine.Put(t.Context(), env.Admin, first); err != nil {
			t.Fatal(err)
		}
		env.Put(t, path, "second")
		if _, err := env.Engine.Rollback(t.Context(), env.Admin, secret.Ref{Path: first.Path}, nil); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := connect(t, env).Query(t.Context(), `SELECT table_name, string_agg(column_name, ',' ORDER BY ordinal_position) FILTER (WHERE is_generated = 'NEVER'),
		array_agg(column_name::text) FROM information_schema.columns
		WHERE table_name IN ('secrets', 'secret_versions', 'amendments', 'idempotency_keys') GROUP BY table_name`)
	if err != nil {
		t.Fatal(err)
	}
	type table struct {
		Name, Writable string
		Columns        []string
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[table])
	if err != nil || len(tables) != 4 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	for _, table := range tables {
		for _, column := range table.Columns {
			name := table.Name + "." + column
			edit, known := columnEdits[name]
			if !known {
				t.Errorf("%s: no case says how an edit of it is noticed", name)
			}
			if edit == "" {
				continue
			}
			where := ""
			if name == "idempotency_keys.name" {
				where = `; DELETE FROM idempotency_keys WHERE secret_id = (SELECT id FROM secrets WHERE path = 'p/one')`
			}
			exec(t, env, `SET session_replication_role = replica; CREATE TABLE kept AS SELECT * FROM `+table.Name+where+
				`; UPDATE `+table.Name+` SET `+edit, pgx.QueryExecModeSimpleProtocol)
			wantClosed(t, env, table.Name, name, request)
			exec(t, env, `SET session_replication_role = replica; DELETE FROM `+table.Name+`; INSERT INTO `+table.Name+` (`+table.Writable+
				`) SELECT `+table.Writable+` FROM kept; DROP TABLE kept`, pgx.QueryExecModeSimpleProtocol)
		}
	}
	wantRead(t, env.Engine, env.Admin, ref(t, "p/one", 0), "v") // all is as it was
	if m, err := env.Engine.Put(t.Context(), env.Admin, request); err != nil || m.Version != 1 {
		t.Errorf("repeated put: %+v, %v", m, err)
	}
}

func wantClosed(t *testing.T, env *vaulttest.Env, table, name string, request secret.PutRequest) {
	t.Helper()
	if table == "idempotency_keys" {
		_, err := env.Engine.Put(t.Context(), env.Admin, request)
		if err == nil {
			t.Errorf("%s: a changed row answers", name)
		}
		wantError(t, err, secret.ErrTampered)
		return
	}
	path, want := "p/one", secret.ErrTampered
	if name == "secrets.path" {
		_, err := read(t, env.Engine, env.Admin, ref(t, path, 0))
		wantError(t, err, secret.ErrDenied)
		path = "p/onex"
	}
	if _, err := read(t, env.Engine, env.Admin, ref(t, path, 0)); err == nil {
		t.Errorf("%s: a changed row is served", name)
	} else {
		wantError(t, err, want)
	}
}
