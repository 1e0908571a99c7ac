package mysql

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/mariadb"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// TestNoAccountGetsAnEmptyPassword speaks to MariaDB as to MySQL, which would take one, and as to itself.
func TestNoAccountGetsAnEmptyPassword(t *testing.T) {
	t.Parallel()
	kit := testkit.MariaDB(t)
	host, port, err := net.SplitHostPort(kit.Address())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	super, err := kit.Open(mariadb.Superuser, kit.Password())
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close()
	if _, err := super.ExecContext(t.Context(), "CREATE USER never_empty@'%' IDENTIFIED BY 'first'"); err != nil {
		t.Fatal(err)
	}
	s := &server{
		config: Config{Host: host, Port: number, User: "never_empty", TLS: rotator.TLS{Disabled: true}},
		admin:  rotator.Credential{"username": mariadb.Superuser, "password": kit.Password()},
	}
	for _, itself := range []bool{false, true} {
		err := s.alone(t.Context(), func(ctx context.Context, as *session) error {
			as.mariadb = itself
			return as.setPassword(ctx, "never_empty", "")
		})
		if !errors.Is(err, rotator.ErrSetup) {
			t.Errorf("as to MariaDB %v: %v", itself, err)
		}
		if err := s.login(t.Context(), rotator.Credential{"username": "never_empty", "password": "first"}); err != nil {
			t.Errorf("as to MariaDB %v: the password: %v", itself, err)
		}
	}
}
