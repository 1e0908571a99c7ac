package store_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/store"
	"github.com/coffer-vault/coffer/internal/vault/store/storetest"
)

// TestConformance runs the suite on Postgres as people configure it.
func TestConformance(t *testing.T) {
	for name, c := range map[string]struct {
		// alter is a setting of the database, and parameter is one of the URL.
		alter, parameter string
	}{
		"plain":                      {},
		"serializable by default":    {alter: `SET default_transaction_isolation = 'serializable'`},
		"repeatable read by default": {alter: `SET default_transaction_isolation = 'repeatable read'`},
		"not durable by default":     {alter: `SET synchronous_commit = off`},
		"elsewhere":                  {alter: `SET timezone = 'Asia/Kathmandu'`},
		"behind a pooler, described": {parameter: "default_query_exec_mode=cache_describe"},
		"behind a pooler, unnamed":   {parameter: "default_query_exec_mode=describe_exec"},
		"few connections":            {parameter: "pool_max_conns=2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := testkit.Postgres(t)
			if c.alter != "" {
				alter(t, dsn, c.alter)
			}
			if c.parameter != "" {
				dsn += "&" + c.parameter
			}
			storetest.Run(t, dsn)
		})
	}
}

// TestModesThatGuessTypesAreRefused with what to use in their place.
func TestModesThatGuessTypesAreRefused(t *testing.T) {
	for _, mode := range []string{"exec", "simple_protocol"} {
		s, err := store.Open(t.Context(), "postgres://user:hunter2@127.0.0.1:1/x?default_query_exec_mode="+mode)
		if err == nil {
			s.Close()
			t.Fatalf("%s is accepted", mode)
		}
		if text := err.Error(); !strings.Contains(text, "describe_exec") || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// alter changes a setting of the database for sessions to come.
func alter(t *testing.T, dsn, setting string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), `ALTER DATABASE `+pgx.Identifier{u.Path[1:]}.Sanitize()+` `+setting); err != nil {
		t.Fatal(err)
	}
}
