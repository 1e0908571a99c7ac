package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/mariadb"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/mysql"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/rotatortest"
)

// worlds counts those made, to name what is in them: they share a server.
var worlds atomic.Int64

// world is a database whose rights are with one role, the two accounts that have it, and an administrator who may do
// no more than the guide says.
type world struct {
	t      *testing.T
	server *mariadb.Server
	super  *sql.DB
	name   string
	config mysql.Config
	admin  rotator.Credential
	// one is the credential that applications hold at first.
	one rotator.Credential
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server := testkit.MariaDB(t)
	host, port, err := net.SplitHostPort(server.Address())
	must(t, "address", err)
	number, err := strconv.Atoi(port)
	must(t, "port", err)
	w := &world{t: t, server: server, name: fmt.Sprintf("shop_%d", worlds.Add(1))}
	w.config = mysql.Config{Host: host, Port: number, TLS: rotator.TLS{Disabled: true}, AlternatingUsers: []string{w.name + "'`a", w.name + "_b"}}
	w.super, err = server.Open(mariadb.Superuser, server.Password())
	must(t, "open", err)
	t.Cleanup(func() { _ = w.super.Close() })
	a, b := w.config.AlternatingUsers[0], w.config.AlternatingUsers[1]
	w.one = rotator.Credential{"username": a, "password": `first'of\all`, "region": "eu"}
	w.admin = rotator.Credential{"username": w.name + "_admin", "password": "the-administrator's"}
	w.exec("CREATE DATABASE " + w.name)
	w.exec("CREATE TABLE " + w.name + ".orders (n int)")
	w.exec("CREATE ROLE " + w.name + "_role")
	w.exec("GRANT SELECT, INSERT ON " + w.name + ".* TO " + w.name + "_role")
	w.exec("CREATE USER " + quote(a) + ` IDENTIFIED BY 'first''of\\all'`)
	w.exec("CREATE USER " + quote(b) + " ACCOUNT LOCK")
	for _, user := range []string{a, b} {
		w.exec("GRANT " + w.name + "_role TO " + quote(user))
		w.exec("SET DEFAULT ROLE " + w.name + "_role FOR " + quote(user))
	}
	w.exec("CREATE USER " + quote(w.admin["username"]) + " IDENTIFIED BY 'the-administrator''s'")
	w.exec("GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO " + quote(w.admin["username"]))
	w.exec("GRANT SELECT ON mysql.* TO " + quote(w.admin["username"]))
	return w
}

// quote is an account of any host, as SQL has it.
func quote(user string) string { return "'" + strings.ReplaceAll(user, "'", "''") + "'@'%'" }

func (w *world) exec(statement string) {
	w.t.Helper()
	if _, err := w.super.ExecContext(w.t.Context(), statement); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

func (w *world) rotator() rotator.Rotator {
	w.t.Helper()
	r, err := mysql.New(w.config, w.admin)
	must(w.t, "new", err)
	return r
}

// connect logs in as an application does, with its own client.
func (w *world) connect(c rotator.Credential) (*sql.Conn, error) {
	db, err := w.server.Open(c["username"], c["password"])
	must(w.t, "open", err)
	w.t.Cleanup(func() { _ = db.Close() })
	return db.Conn(w.t.Context())
}

// logsIn reports whether an application with c gets in, and may use the table.
func (w *world) logsIn(c rotator.Credential) bool {
	db, err := w.server.Open(c["username"], c["password"])
	if err != nil {
		w.t.Error(err)
		return false
	}
	defer db.Close()
	if err := db.PingContext(w.t.Context()); err != nil {
		return false
	}
	if _, err := db.ExecContext(w.t.Context(), "INSERT INTO "+w.name+".orders VALUES (1)"); err != nil {
		w.t.Errorf("%s logs in, and may not do what it could: %v", c["username"], err)
	}
	return true
}

func (w *world) accepts(at string, old, next rotator.Credential, wantOld, wantNext bool) {
	w.t.Helper()
	if gotOld, gotNext := w.logsIn(old), w.logsIn(next); gotOld != wantOld || gotNext != wantNext {
		w.t.Errorf("%s: the old logs in: %v, the new: %v; want %v and %v", at, gotOld, gotNext, wantOld, wantNext)
	}
}

func must(t *testing.T, step string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
}

func create(t *testing.T, r rotator.Rotator, current rotator.Credential) rotator.Credential {
	t.Helper()
	next, err := r.Create(t.Context(), current)
	must(t, "create", err)
	return next
}

func TestAlternatingUsersKeepEverybodyIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rotatortest.Run(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn})
}

func TestOneUserHasOnePasswordAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.User, w.config.AlternatingUsers = w.config.AlternatingUsers[0], nil
	if rotator.Overlaps(w.rotator()) {
		t.Error("one user has one password")
	}
	rotatortest.Run(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn})
}

// TestNoRotationStartsFromAnUnfitCredential stores the login of an application in ways that a rotation cannot undo, or retire.
func TestNoRotationStartsFromAnUnfitCredential(t *testing.T) {
	t.Parallel()
	t.Run("alternating", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		rotatortest.RefusesUnfit(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn})
	})
	t.Run("one user", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.config.User, w.config.AlternatingUsers = w.config.AlternatingUsers[0], nil
		rotatortest.RefusesUnfit(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn})
	})
}

func TestEd25519(t *testing.T) {
	w := newWorld(t)
	w.config.Authentication = mysql.Ed25519
	r := w.rotator()
	next := create(t, r, w.one)
	if err := r.Set(t.Context(), w.one, next); !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), "INSTALL SONAME 'auth_ed25519'") {
		t.Errorf("without the plugin set says %v", err)
	}
	w.exec("INSTALL SONAME 'auth_ed25519'")
	defer w.exec("UNINSTALL SONAME 'auth_ed25519'")
	must(t, "set", r.Set(t.Context(), w.one, next))
	must(t, "test", r.Test(t.Context(), next))
	w.accepts("set", w.one, next, true, true)
	must(t, "finish", r.Finish(t.Context(), w.one, next))
	w.accepts("finished", w.one, next, false, true)
	w.exec("DROP USER " + quote(next["username"])) // before the plugin goes
}

// TestFinishEndsSessions also comes again when the account is in use again.
func TestFinishEndsSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.EndSessions = true
	r := w.rotator()
	session, err := w.connect(w.one)
	must(t, "session", err)
	two := create(t, r, w.one)
	must(t, "set", r.Set(t.Context(), w.one, two))
	must(t, "the session after set", session.PingContext(t.Context()))
	must(t, "finish", r.Finish(t.Context(), w.one, two))
	if err := session.PingContext(t.Context()); err == nil {
		t.Error("a session of the retired account goes on")
	}
	three := create(t, r, two)
	must(t, "set", r.Set(t.Context(), two, three))
	session, err = w.connect(three)
	must(t, "session", err)
	must(t, "finish of the earlier rotation", r.Finish(t.Context(), w.one, two))
	must(t, "the session of the later", session.PingContext(t.Context()))
	w.accepts("late", two, three, true, true)
}

func TestNobodyIsLockedOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.rotator()
	next := create(t, r, w.one)
	if err := r.Finish(t.Context(), w.one, next); !errors.Is(err, rotator.ErrRefused) {
		t.Errorf("finish before set says %v", err)
	}
	w.accepts("finish before set", w.one, next, true, false)
}

// TestServerNeverSeesThePassword reads the log of all statements.
func TestServerNeverSeesThePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.rotator()
	next := create(t, r, w.one)
	must(t, "set", r.Set(t.Context(), w.one, next))
	log, err := os.ReadFile(w.server.GeneralLog())
	must(t, "the log", err)
	if !strings.Contains(string(log), "ALTER USER '"+next["username"]+"'@'%'") {
		t.Error("the log has no statement that sets the verifier: the test proves nothing")
	}
	if strings.Contains(string(log), next["password"]) {
		t.Error("the log holds the password")
	}
}

// TestUsersMustHaveTheSameGrants makes the two different, one way at a time.
func TestUsersMustHaveTheSameGrants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.rotator()
	next := create(t, r, w.one)
	a, b := quote(w.one["username"]), quote(next["username"])
	for _, tc := range []struct{ do, undo, want string }{
		{"GRANT DELETE ON " + w.name + ".* TO " + a, "REVOKE DELETE ON " + w.name + ".* FROM " + a, "GRANT DELETE ON `" + w.name + "`.* TO " + next["username"]},
		{"GRANT RELOAD ON *.* TO " + b, "REVOKE RELOAD ON *.* FROM " + b, "GRANT RELOAD ON *.* TO " + w.one["username"]},
		{"SET DEFAULT ROLE NONE FOR " + b, "SET DEFAULT ROLE " + w.name + "_role FOR " + b, "SET DEFAULT ROLE `" + w.name + "_role` FOR " + next["username"]},
		{"REVOKE " + w.name + "_role FROM " + b, "GRANT " + w.name + "_role TO " + b, "GRANT `" + w.name + "_role` TO " + next["username"]},
	} {
		w.exec(tc.do)
		err := r.Set(t.Context(), w.one, next)
		if !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "IDENTIFIED") {
			t.Errorf("%s: set says %v, want %q", tc.do, err, tc.want)
		}
		w.accepts(tc.do, w.one, next, true, false)
		w.exec(tc.undo)
	}
	w.exec("SET DEFAULT ROLE " + w.name + "_role FOR " + b)
	must(t, "set", r.Set(t.Context(), w.one, next))
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next := create(t, w.rotator(), w.one)
	for _, tc := range []struct {
		name string
		with func(*mysql.Config, rotator.Credential)
		kind error
		want string
	}{
		{"wrong password", func(_ *mysql.Config, admin rotator.Credential) { admin["password"] = "guessed-by-nobody" }, rotator.ErrRights, "the password is wrong"},
		{"no rights", func(_ *mysql.Config, admin rotator.Credential) {
			admin["username"], admin["password"] = w.one["username"], w.one["password"]
		}, rotator.ErrRights, "the right to do it is missing"},
		{"nobody there", func(c *mysql.Config, _ rotator.Credential) { c.Port = 1 }, rotator.ErrUnreachable, "127.0.0.1:1"},
		{"no account", func(c *mysql.Config, _ rotator.Credential) { c.AccountHost = "db.example.org" }, rotator.ErrSetup, "no such account for the host db.example.org"},
		{"no TLS", func(c *mysql.Config, _ rotator.Credential) { c.TLS.Disabled = false }, rotator.ErrSetup, "the server has no TLS"},
	} {
		config, admin := w.config, rotator.Credential{"username": w.admin["username"], "password": w.admin["password"]}
		tc.with(&config, admin)
		r, err := mysql.New(config, admin)
		must(t, tc.name, err)
		err = r.Set(t.Context(), w.one, next)
		if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: set says %v, want %v with %q", tc.name, err, tc.kind, tc.want)
		}
		for _, c := range []rotator.Credential{w.one, next, admin} {
			if strings.Contains(fmt.Sprint(err), c["password"]) {
				t.Errorf("%s: the error holds a password", tc.name)
			}
		}
	}
	if err := w.rotator().Test(t.Context(), next); !errors.Is(err, rotator.ErrRefused) {
		t.Errorf("the test of a locked account says %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.rotator().Set(ctx, w.one, next); !errors.Is(err, rotator.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("a step that was given up says %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		config mysql.Config
		want   string
	}{
		{mysql.Config{User: "a"}, "give the host"},
		{mysql.Config{Host: "h"}, "give either user or alternatingUsers"},
		{mysql.Config{Host: "h", User: "a", AlternatingUsers: []string{"a", "b"}}, "give either user or alternatingUsers"},
		{mysql.Config{Host: "h", AlternatingUsers: []string{"a"}}, "alternatingUsers are two different names"},
		{mysql.Config{Host: "h", User: "a", EndSessions: true}, "endSessions is for alternatingUsers"},
		{mysql.Config{Host: "h", User: "a", Port: -1}, "-1 is no port"},
		{mysql.Config{Host: "h", User: "a", Authentication: "sha256"}, `no authentication "sha256"`},
		{mysql.Config{Host: "h", User: "a", TLS: rotator.TLS{CA: "none"}}, "no certificate in PEM"},
	} {
		if _, err := mysql.New(tc.config, rotator.Credential{"username": "u", "password": "p"}); !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want %q", tc.config, err, tc.want)
		}
	}
}
