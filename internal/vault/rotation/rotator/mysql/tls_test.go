package mysql_test

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit/authority"
	"github.com/coffer-vault/coffer/internal/testkit/mariadb"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/mysql"
)

func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	ca, other := authority.New(t, "the server's"), authority.New(t, "another")
	pair := ca.Server(t)
	server, err := mariadb.Start(t.Context(), mariadb.Options{Cert: pair.Cert, Key: pair.Key})
	must(t, "MariaDB", err)
	t.Cleanup(func() { _ = server.Close() })
	host, port, err := net.SplitHostPort(server.Address())
	must(t, "address", err)
	number, err := strconv.Atoi(port)
	must(t, "port", err)
	login := rotator.Credential{"username": mariadb.Superuser, "password": server.Password()}
	for _, tc := range []struct {
		name string
		tls  rotator.TLS
		want string
	}{
		{"the machine's authorities", rotator.TLS{}, "give the authority as ca of tls"},
		{"another authority", rotator.TLS{CA: string(other.PEM)}, "give the authority as ca of tls"},
		{"another name", rotator.TLS{CA: string(ca.PEM), ServerName: "db.example.org"}, "is for another name"},
		{"its authority", rotator.TLS{CA: string(ca.PEM)}, ""},
	} {
		r, err := mysql.New(mysql.Config{Host: host, Port: number, User: mariadb.Superuser, TLS: tc.tls}, login)
		must(t, tc.name, err)
		err = r.Test(t.Context(), login)
		if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}
