//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// database is one of the environment's PostgreSQL, with two logins of equal rights and the administrator who changes them.
type database struct {
	super *pgx.Conn
	host  string
	port  int32
	name  string
	roles [2]string
	// password is the administrator's.
	password string
}

// newDatabase makes a database, and what docs/guides/rotators.md prepares in one. All of it goes with the test.
func newDatabase(t *testing.T, name string) *database {
	t.Helper()
	address, err := url.Parse(os.Getenv("DATABASE_URL"))
	if err != nil {
		t.Fatal("DATABASE_URL is no URL") // the error would show it
	}
	port, err := strconv.ParseInt(address.Port(), 10, 32)
	must(t, err)
	name = strings.ReplaceAll(name, "-", "_")
	db := &database{host: address.Hostname(), port: int32(port), name: name, roles: [2]string{name + "_a", name + "_b"}, password: randomValue()}
	db.super, err = pgx.Connect(t.Context(), address.String())
	must(t, err)
	t.Cleanup(func() { db.remove(t) })
	for _, sql := range []string{
		"CREATE DATABASE " + name,
		"CREATE ROLE " + name + "_app NOLOGIN",
		"GRANT CONNECT ON DATABASE " + name + " TO " + name + "_app",
		"CREATE ROLE " + db.roles[0] + " NOLOGIN IN ROLE " + name + "_app",
		"CREATE ROLE " + db.roles[1] + " NOLOGIN IN ROLE " + name + "_app",
		"CREATE ROLE " + name + "_rotator LOGIN CREATEROLE PASSWORD '" + db.password + "'",
	} {
		db.exec(t, sql)
	}
	return db
}

func (db *database) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := db.super.Exec(t.Context(), sql); err != nil {
		t.Fatal(err) // of the server: it repeats no password
	}
}

func (db *database) remove(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	statements := []string{"DROP DATABASE IF EXISTS " + db.name + " WITH (FORCE)"}
	for _, role := range []string{db.roles[0], db.roles[1], db.name + "_app", db.name + "_rotator"} {
		statements = append(statements, "DROP ROLE IF EXISTS "+role)
	}
	for _, sql := range statements {
		if _, err := db.super.Exec(ctx, sql); err != nil {
			t.Error(err)
		}
	}
	_ = db.super.Close(ctx)
}

// first is the credential that the services begin with.
func (db *database) first(t *testing.T) string {
	t.Helper()
	password := randomValue()
	db.exec(t, "ALTER ROLE "+db.roles[0]+" LOGIN PASSWORD '"+password+"'")
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(db.roles[0], password), Path: "/" + db.name,
		Host: db.host + ":" + strconv.Itoa(int(db.port)), RawQuery: "sslmode=disable",
	}
	return object(t, map[string]string{"username": db.roles[0], "password": password, "url": address.String()})
}

// administrator is the credential of the rotator.
func (db *database) administrator(t *testing.T) string {
	t.Helper()
	return object(t, map[string]string{"username": db.name + "_rotator", "password": db.password})
}

func object(t *testing.T, properties map[string]string) string {
	t.Helper()
	text, err := json.Marshal(properties)
	must(t, err)
	return string(text)
}

// other is the role that role is not.
func (db *database) other(role string) string {
	if role == db.roles[0] {
		return db.roles[1]
	}
	return db.roles[0]
}

// wantOnly wants the last of so many addresses to log in, and every other to be refused.
func (db *database) wantOnly(t *testing.T, addresses []string, count int) {
	t.Helper()
	if len(addresses) != count {
		t.Errorf("the services had %d credentials, want %d", len(addresses), count)
	}
	for i, address := range addresses {
		conn, err := pgx.Connect(t.Context(), address)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		if last := i == len(addresses)-1; (err == nil) != last {
			t.Errorf("credential %d of %d logs in: %v, want %v", i+1, len(addresses), err == nil, last)
		}
	}
}
