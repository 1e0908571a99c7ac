package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// TestTamperedLog runs the scripts that edit the audit log in the database, on a vault of their own: a log that is not whole
// would be noticed by other scripts too.
func TestTamperedLog(t *testing.T) {
	i := install(t)
	keeper := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "security", Name: "api"}
	i.vault.AllowAll(t, keeper, "**", "sys/**")
	token := filepath.Join(t.TempDir(), "keeper")
	must(t, os.WriteFile(token, []byte(i.account(t, "security", "coffer")+"\n"), 0o600))
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "tampered"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("COFFER_ADDR", i.url)
			e.Setenv("COFFER_CACERT", i.caCert)
			e.Setenv("COFFER_TOKEN_FILE", token)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "sql": i.sql},
	})
}

// sql does in the database, past the vault, what a file says, and puts the row that its last statement answers with into
// variables, one for each column: sql FILE.
func (i *installation) sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sql FILE")
	}
	conn, err := pgx.Connect(context.Background(), i.vault.DSN)
	ts.Check(err)
	defer func() { _ = conn.Close(context.Background()) }()
	results, err := conn.PgConn().Exec(context.Background(), ts.ReadFile(args[0])).ReadAll()
	ts.Check(err)
	last := results[len(results)-1]
	if len(last.Rows) != 1 {
		ts.Fatalf("%s answers with %d rows, want 1", args[0], len(last.Rows))
	}
	for n, column := range last.FieldDescriptions {
		ts.Setenv(strings.ToUpper(column.Name), string(last.Rows[0][n]))
	}
}
