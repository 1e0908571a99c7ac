package vault_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// keyTampering is an edit of every column of the tables of the keyring. $1 is the
// primary key, which has a version. An empty finding: nothing may come of it.
var keyTampering = map[string]struct{ sql, finding string }{
	"key_encryption_keys.id":         {`INSERT INTO key_encryption_keys SELECT (id + 1) % 4294967296, state, created_at, revision, mac FROM key_encryption_keys WHERE id = $1`, "is not in the keyset"},
	"key_encryption_keys.state":      {`UPDATE key_encryption_keys SET state = 'retired' WHERE id = $1`, "fails its integrity check"},
	"key_encryption_keys.created_at": {`UPDATE key_encryption_keys SET created_at = created_at - interval '1 day' WHERE id = $1`, "fails its integrity check"},
	"key_encryption_keys.revision":   {`UPDATE key_encryption_keys SET revision = revision - 1 WHERE id = $1`, "fails its integrity check"},
	"key_encryption_keys.mac":        {`UPDATE key_encryption_keys SET mac = '' WHERE id = $1`, "fails its integrity check"},
	"replicas.id":                    {`UPDATE replicas SET id = gen_random_uuid() WHERE $1::bigint > 0`, ""},
	"replicas.name":                  {`UPDATE replicas SET name = 'other' WHERE $1::bigint > 0`, ""},
	"replicas.keyset_revision":       {`UPDATE replicas SET keyset_revision = 99 WHERE $1::bigint > 0`, ""},
	"replicas.seen_at":               {`DELETE FROM replicas WHERE $1::bigint > 0`, ""},
}

// TestTamperedKeyRows: an edit of the rows is found, said and healed by the next change,
// and costs no version.
func TestTamperedKeyRows(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "v")
	rows, err := connect(t, env).Query(t.Context(), `SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_name IN ('key_encryption_keys', 'replicas') ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(columns) != len(keyTampering) {
		t.Errorf("columns %v and %d cases", columns, len(keyTampering))
	}
	for _, column := range columns {
		test, ok := keyTampering[column]
		if !ok {
			t.Errorf("%s has no case", column)
			continue
		}
		id := primary(t, env)
		exec(t, env, test.sql, int64(id))
		s := status(t, env)
		found := slices.ContainsFunc(s.Findings, func(f string) bool { return strings.Contains(f, test.finding) })
		if test.finding == "" && len(s.Findings) != 0 || test.finding != "" && (!found || lastAudit(t, env).Decision != audit.Failed) {
			t.Errorf("%s: findings %v, want %q", column, s.Findings, test.finding)
		}
		// A replica that is made up only delays the next promotion.
		exec(t, env, `UPDATE replicas SET seen_at = seen_at - interval '1 minute'`)
		next := rotate(t, env.Engine, env.Admin)
		if s := status(t, env); len(s.Findings) != 0 || primary(t, env) != next {
			t.Errorf("%s: after the next change: %+v", column, s)
		}
		rewrapAll(t, env.Engine, env.Admin)
		destroy(t, env.Engine, env.Admin, id)
		wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
	}
}

// TestOldKeyRowPutBack: a row of an earlier revision verifies, and is found.
func TestOldKeyRowPutBack(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	first := primary(t, env)
	exec(t, env, `CREATE TABLE kept AS SELECT * FROM key_encryption_keys`)
	rotate(t, env.Engine, env.Admin)
	exec(t, env, `UPDATE key_encryption_keys k SET state = o.state, revision = o.revision, mac = o.mac FROM kept o WHERE o.id = k.id`)
	s := status(t, env)
	if len(s.Findings) != 1 || !strings.Contains(s.Findings[0], "older") || s.Keys[0].State == "primary" {
		t.Errorf("status %+v", s)
	}
	if err := env.Engine.DestroyKey(t.Context(), env.Admin, first); err == nil {
		t.Error("an enabled key was destroyed")
	} else {
		wantError(t, err, secret.ErrKeyState)
	}
}

// TestDataKeyThatDoesNotOpen is passed over by a rewrap, named, and keeps its key.
func TestDataKeyThatDoesNotOpen(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/good", "v")
	env.Put(t, "a/bad", "v")
	old := primary(t, env)
	exec(t, env, `UPDATE secret_versions SET wrapped_key = set_byte(wrapped_key, 40, get_byte(wrapped_key, 40) # 1)
		WHERE secret_id = (SELECT id FROM secrets WHERE path = 'a/bad')`)
	rotate(t, env.Engine, env.Admin)
	p, err := env.Engine.Rewrap(t.Context(), env.Admin)
	if err != nil || p.Rewrapped != 1 || p.Remaining != 1 || p.Failed != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if got := auditRows(t, env, `WHERE action = 'rewrap' AND decision = 'failed'`); len(got) != 1 || got[0].Path != "a/bad" {
		t.Errorf("audit rows %+v", got)
	}
	if err := env.Engine.RetireKey(t.Context(), env.Admin, old); err != nil {
		t.Fatal(err)
	}
	wantError(t, env.Engine.DestroyKey(t.Context(), env.Admin, old), secret.ErrKeyState)
	wantRead(t, env.Engine, env.Admin, ref(t, "a/good", 0), "v")
}
