package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestVerifyOfATamperedLog is what a person sees when somebody removed a row of a replica that ended, edited another and cut its
// last one off, in the database itself.
func TestVerifyOfATamperedLog(t *testing.T) {
	i := install(t)
	keeper := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "security", Name: "api"}
	i.vault.AllowAll(t, keeper, "sys/audit")
	t.Setenv("COFFER_ADDR", i.url)
	t.Setenv("COFFER_CACERT", i.caCert)
	t.Setenv("COFFER_TOKEN", i.account(t, "security", "coffer"))
	verify := func() (code int, out, said string) {
		var stdout, stderr bytes.Buffer
		s := &session{in: &bytes.Buffer{}, out: &stdout, err: &stderr, now: time.Now}
		code = s.run(t.Context(), []string{"coffer", "audit", "verify"})
		return code, stdout.String(), stderr.String()
	}
	i.vault.Put(t, "cut/log", "v")
	conn, err := pgx.Connect(t.Context(), i.vault.DSN)
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close(context.Background())) })
	writer, last := i.ended(t, conn)
	if code, out, said := verify(); code != exitOK {
		t.Fatalf("before: exit code %d\n%s%s", code, out, said)
	}

	for _, sql := range []string{
		`DELETE FROM audit WHERE writer = $1 AND seq = $2 - 4`,
		`UPDATE audit SET path = 'some/thing' WHERE writer = $1 AND seq = $2 - 2`,
		`DELETE FROM audit WHERE writer = $1 AND seq = $2`,
	} {
		if tag, err := conn.Exec(t.Context(), sql, writer, last); err != nil || tag.RowsAffected() != 1 {
			t.Fatalf("%s: %d rows, %v", sql, tag.RowsAffected(), err)
		}
	}
	code, out, said := verify()
	if code != exitFindings {
		t.Errorf("exit code %d, want %d", code, exitFindings)
	}
	const moment = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	for _, want := range []string{
		`^\d+ rows of \d+ writers verified, ` + moment,
		`(?m)^FINDING +WRITER +ROWS +WRITTEN +ACTION +PATH +NOTICED BY$`,
		fmt.Sprintf(`(?m)^missing +%s +%d +%s to %[3]s +- +- +row %d of the writer has id \d+$`, writer, last-4, moment, last-3),
		fmt.Sprintf(`(?m)^changed +%s +%d +%s +read +some/thing +the row fails its integrity check$`, writer, last-2, moment),
		fmt.Sprintf(`(?m)^truncated +%s +%d +after %s +- +- +(the table of writers|an anchor of .*) knows them$`, writer, last, moment),
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	if want := regexp.MustCompile(`^Error: the audit log is not as it was written: 3 findings\nWhat each finding means and what to do: .* in docs/operations.md\.\n$`); !want.MatchString(said) {
		t.Errorf("stderr: %q", said)
	}
}

// ended is a writer of a replica that has ended, whose last five rows are reads, and the number of its last row.
func (i *installation) ended(t *testing.T, conn *pgx.Conn) (writer string, last int64) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
			DatabaseURL: i.vault.DSN, Root: i.vault.Root, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		must(t, err)
		for range 10 {
			if _, err = engine.Read(t.Context(), i.vault.Admin, secret.Ref{Path: vaulttest.Path(t, "cut/log")}); err != nil {
				break
			}
		}
		closeEngine()
		must(t, err)
		// Which writer a row gets, and when an anchor comes between, is the engine's.
		err = conn.QueryRow(t.Context(), `SELECT w.writer::text, w.seq FROM audit_writers w JOIN audit a ON a.writer = w.writer AND a.seq > w.seq - 5
			WHERE a.action = 'read' AND a.path = 'cut/log' GROUP BY w.writer, w.seq HAVING count(*) = 5`).Scan(&writer, &last)
		if err == nil {
			return writer, last
		}
		if !errors.Is(err, pgx.ErrNoRows) || time.Now().After(deadline) {
			t.Fatalf("no replica wrote five reads last: %v", err)
		}
	}
}
