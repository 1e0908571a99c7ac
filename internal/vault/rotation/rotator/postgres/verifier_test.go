package postgres

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// TestVerifierIsTheServers has the server derive one from the same password, and takes its salt.
func TestVerifierIsTheServers(t *testing.T) {
	t.Parallel()
	dsn := testkit.Postgres(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	const password = `p!~"#$%&'()*+,-./09:;<=>?@AZ[\]^_az{|}`
	role := pgx.Identifier{conn.Config().Database + "_verifier"}.Sanitize()
	var kept string
	for _, sql := range []string{"CREATE ROLE " + role, "ALTER ROLE " + role + " PASSWORD '" + strings.ReplaceAll(password, "'", "''") + "'"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	err = conn.QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE oid = $1::regrole", role).Scan(&kept)
	if _, dropped := conn.Exec(t.Context(), "DROP ROLE "+role); err != nil || dropped != nil {
		t.Fatal(err, dropped)
	}
	salt, _, _ := strings.Cut(strings.TrimPrefix(kept, "SCRAM-SHA-256$4096:"), "$")
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		t.Fatalf("the server's verifier has another form: %v", err)
	}
	if got, err := verifier(password, raw, 4096); err != nil || got != kept {
		t.Errorf("our verifier is not the server's (%v)", err)
	}
}

func TestVerifierRefusesWhatSASLprepWouldChange(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "with space", "sm\u00f8rrebr\u00f8d", "tab\t"} {
		if _, err := newVerifier(password); !errors.Is(err, rotator.ErrSetup) || password != "" && strings.Contains(err.Error(), password) {
			t.Errorf("a password of %d bytes: error %v", len(password), err)
		}
	}
}
