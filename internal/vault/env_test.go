package vault_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// connect opens a connection past the engine, as an attacker or an operator has it.
func connect(t testing.TB, env *vaulttest.Env) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), env.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, env *vaulttest.Env, sql string, args ...any) {
	t.Helper()
	conn := connect(t, env)
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	_ = conn.Close(t.Context()) // a test with many of them would take all that the server has
}

func ref(t testing.TB, path string, version int64) secret.Ref {
	t.Helper()
	return secret.Ref{Path: vaulttest.Path(t, path), Version: version}
}

// read returns the value as a string; "" with an error.
func read(t testing.TB, e *vault.Engine, caller secret.Caller, r secret.Ref) (string, error) {
	t.Helper()
	s, err := e.Read(t.Context(), caller, r)
	if err != nil && s.Value.Len() != 0 {
		t.Errorf("an error came with a value: %v", err)
	}
	return string(s.Value.Bytes()), err
}

func wantRead(t testing.TB, e *vault.Engine, caller secret.Caller, r secret.Ref, want string) {
	t.Helper()
	got, err := read(t, e, caller, r)
	if err != nil || got != want {
		t.Errorf("read %s version %d: got %q, %v; want %q", r.Path, r.Version, got, err, want)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want one that is %v", err, want)
	}
}

// lastAudit is the newest row of the log, read past the engine.
func lastAudit(t testing.TB, env *vaulttest.Env) audit.Entry {
	t.Helper()
	entries := auditRows(t, env, `WHERE action <> 'anchor' ORDER BY id DESC LIMIT 1`)
	if len(entries) == 0 {
		t.Fatal("the audit log is empty")
	}
	return entries[0]
}

func auditRows(t testing.TB, env *vaulttest.Env, tail string) []audit.Entry {
	t.Helper()
	rows, err := connect(t, env).Query(t.Context(), `SELECT id, at, cluster, caller_kind, caller, namespace, caller_uid, environment,
		action, path, version, decision, rule, address, request_id FROM audit `+tail)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[audit.Entry])
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
