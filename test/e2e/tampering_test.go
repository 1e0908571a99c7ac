//go:build e2e

package e2e

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestTamperedRowsFailClosed edits Postgres by hand, as somebody with the
// database's password could, and reads through the API.
func TestTamperedRowsFailClosed(t *testing.T) {
	const swap = `UPDATE secret_versions a SET box = b.box, wrapped_key = b.wrapped_key
		FROM secret_versions b, secrets sa, secrets sb
		WHERE a.secret_id = sa.id AND b.secret_id = sb.id AND a.version = 1 AND b.version = 1
		AND ((sa.path = $1 AND sb.path = $2) OR (sa.path = $2 AND sb.path = $1))`
	tests := map[string]struct {
		tamper string
		other  bool
	}{
		"rows swapped":            {swap, true},
		"current version changed": {`UPDATE secrets SET current_version = 1 WHERE path = $1`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t)
			victim, other := e.path("victim"), e.path("other")
			e.put(t, victim, randomValue())
			e.put(t, other, randomValue())
			args := []any{victim}
			if test.other {
				args = append(args, other)
			} else {
				coffer(t, randomValue(), "rotate", victim)
			}
			connection, err := pgx.Connect(t.Context(), os.Getenv("DATABASE_URL"))
			must(t, err)
			defer func() { _ = connection.Close(context.Background()) }()
			tag, err := connection.Exec(t.Context(), test.tamper, args...)
			must(t, err)
			if tag.RowsAffected() == 0 {
				t.Fatal("no row was changed")
			}
			if out, err := tryCoffer(t.Context(), "", "get", victim, "-o", "raw"); err == nil || out != "" {
				t.Errorf("the read was answered with %d bytes (error %v)", len(out), err)
			}
			failed := audit(t, "--path", victim, "--decision", "failed")
			if len(failed) == 0 {
				t.Error("the audit log has no row of the failed read")
			}
		})
	}
}
