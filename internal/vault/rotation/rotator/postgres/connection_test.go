package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/authority"
	pgkit "github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/postgres"
)

// own is a server of the test's own, with a role app, and its configuration.
func own(t *testing.T) (server *pgkit.Server, super *pgx.Conn, config postgres.Config, admin, app rotator.Credential) {
	t.Helper()
	server = testkit.PostgresServer(t)
	address, err := url.Parse(server.DSN())
	must(t, "address", err)
	port, err := strconv.Atoi(address.Port())
	must(t, "port", err)
	super, err = pgx.Connect(t.Context(), server.DSN())
	must(t, "connect", err)
	t.Cleanup(func() { _ = super.Close(context.Background()) })
	_, err = super.Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'first'")
	must(t, "role", err)
	password, _ := address.User.Password()
	config = postgres.Config{Host: "127.0.0.1", Port: port, Database: "postgres", Role: "app", TLS: rotator.TLS{Disabled: true}}
	return server, super, config, rotator.Credential{"username": "postgres", "password": password}, rotator.Credential{"username": "app", "password": "first"}
}

func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	server, _, config, admin, app := own(t)
	ca, other := authority.New(t, "the server's"), authority.New(t, "another")
	pair := ca.Server(t)
	must(t, "serve TLS", server.ServeTLS(t.Context(), pgkit.TLS{Cert: pair.Cert, Key: pair.Key, ClientCA: other.PEM, Role: "nobody"}))
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
		config.TLS = tc.tls
		r, err := postgres.New(config, admin)
		must(t, tc.name, err)
		// The server takes up its certificate a moment after it was told to.
		testkit.Eventually(t, time.Minute, func() string {
			err = r.Test(t.Context(), app)
			switch {
			case tc.want == "" && err != nil:
				return err.Error()
			case tc.want != "" && (!errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), tc.want)):
				return tc.name + " is not refused as it should be"
			}
			return ""
		})
	}
}

// TestLoginWithoutAPasswordProvesNothing has the server let in everybody.
func TestLoginWithoutAPasswordProvesNothing(t *testing.T) {
	t.Parallel()
	_, super, config, admin, app := own(t)
	r, err := postgres.New(config, admin)
	must(t, "new", err)
	must(t, "test", r.Test(t.Context(), app))
	var hba string
	must(t, "pg_hba.conf", super.QueryRow(t.Context(), "SHOW hba_file").Scan(&hba))
	for _, sql := range []string{"COPY (SELECT 'host all all 127.0.0.1/32 trust') TO '" + hba + "'", "SELECT pg_reload_conf()"} {
		_, err := super.Exec(t.Context(), sql)
		must(t, sql, err)
	}
	testkit.Eventually(t, time.Minute, func() string {
		if err := r.Test(t.Context(), app); !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), "asks logins from here for no password") {
			return "a login for which no password was asked counts"
		}
		return ""
	})
}

// sqlBlock is the first of SQL in the guide.
var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// TestGuidePreparesTheRoles runs the statements of the guide, and rotates with what they made.
func TestGuidePreparesTheRoles(t *testing.T) {
	t.Parallel()
	server, super, config, _, _ := own(t)
	_, err := super.Exec(t.Context(), "DROP ROLE app") // the guide makes one
	must(t, "drop", err)
	guide, err := os.ReadFile("../../../../../docs/guides/rotators.md")
	must(t, "the guide", err)
	shop, err := server.CreateDatabase(t.Context(), "shop")
	must(t, "the database", err)
	conn, err := pgx.Connect(t.Context(), shop)
	must(t, "connect", err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "CREATE TABLE orders (n int)")
	must(t, "a table", err)
	// Without a parameter pgx sends all statements at once.
	_, err = conn.Exec(t.Context(), sqlBlock.FindStringSubmatch(string(guide))[1])
	must(t, "the guide's statements", err)
	for _, role := range []string{"app_a", "coffer_rotator"} {
		_, err := super.Exec(t.Context(), "ALTER ROLE "+role+" PASSWORD 'first'")
		must(t, role, err)
	}
	config.Database, config.Role, config.AlternatingRoles = "shop", "", []string{"app_a", "app_b"}
	r, err := postgres.New(config, rotator.Credential{"username": "coffer_rotator", "password": "first"})
	must(t, "new", err)
	first := rotator.Credential{"username": "app_a", "password": "first"}
	next := create(t, r, first)
	must(t, "set", r.Set(t.Context(), first, next))
	must(t, "test", r.Test(t.Context(), next))
	must(t, "finish", r.Finish(t.Context(), first, next))
	again := create(t, r, next)
	must(t, "set again", r.Set(t.Context(), next, again))
	must(t, "test again", r.Test(t.Context(), again))
}
