package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/postgres"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/rotatortest"
)

// world is a database whose rights are with one group role, the two roles that are its members, and an administrator
// who may do no more than the guide says. Its roles are named after the database: roles are shared by the databases of
// a server.
type world struct {
	t      *testing.T
	super  *pgx.Conn
	config postgres.Config
	admin  rotator.Credential
	// one is the credential that applications hold at first.
	one rotator.Credential
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dsn := testkit.Postgres(t)
	address, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(address.Port())
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(address.Path, "/")
	w := &world{t: t, config: postgres.Config{
		Host: address.Hostname(), Port: port, Database: name, TLS: rotator.TLS{Disabled: true},
		AlternatingRoles: []string{name + ` "a"`, name + "_b"},
	}}
	if w.super, err = pgx.Connect(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	a, b := w.config.AlternatingRoles[0], w.config.AlternatingRoles[1]
	t.Cleanup(func() {
		ctx := context.Background()
		for _, role := range []string{a, b, name + "_admin", name + "_group", name + "_other"} {
			for _, sql := range []string{"DROP OWNED BY ", "DROP ROLE "} {
				_, _ = w.super.Exec(ctx, sql+quote(role))
			}
		}
		_ = w.super.Close(ctx)
	})
	w.admin = rotator.Credential{"username": name + "_admin", "password": "the-administrator's"}
	w.one = rotator.Credential{"username": a, "password": "first'of\\all", "region": "eu",
		"url": "postgres://" + url.UserPassword(a, "first'of\\all").String() + "@db.example.org/app?sslmode=verify-full"}
	w.exec(`CREATE ROLE ` + quote(name+"_admin") + ` LOGIN CREATEROLE PASSWORD 'the-administrator''s' IN ROLE pg_signal_backend`)
	w.exec(`CREATE ROLE ` + quote(name+"_group"))
	w.exec(`CREATE TABLE orders (n int); GRANT SELECT, INSERT ON orders TO ` + quote(name+"_group"))
	w.exec(`CREATE ROLE ` + quote(a) + ` LOGIN PASSWORD E'first''of\\all' IN ROLE ` + quote(name+"_group"))
	w.exec(`CREATE ROLE ` + quote(b) + ` NOLOGIN IN ROLE ` + quote(name+"_group"))
	return w
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func (w *world) exec(sql string) {
	w.t.Helper()
	if _, err := w.super.Exec(w.t.Context(), sql); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *world) rotator() rotator.Rotator {
	w.t.Helper()
	r, err := postgres.New(w.config, w.admin)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// connect logs in as an application does, with its own client.
func (w *world) connect(c rotator.Credential) (*pgx.Conn, error) {
	address := url.URL{
		Scheme: "postgres", User: url.UserPassword(c["username"], c["password"]), Path: "/" + w.config.Database,
		Host: w.config.Host + ":" + strconv.Itoa(w.config.Port), RawQuery: "sslmode=disable",
	}
	return pgx.Connect(w.t.Context(), address.String())
}

// logsIn reports whether an application with c gets in and may use the table.
func (w *world) logsIn(c rotator.Credential) bool {
	w.t.Helper()
	conn, err := w.connect(c)
	if err != nil {
		return false
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(w.t.Context(), "INSERT INTO orders VALUES (1)"); err != nil {
		w.t.Errorf("%s logs in, and may not do what it could: %v", c["username"], err)
	}
	return true
}

// accepts fails the test unless exactly those credentials log in.
func (w *world) accepts(at string, old, next rotator.Credential, wantOld, wantNext bool) {
	w.t.Helper()
	if gotOld, gotNext := w.logsIn(old), w.logsIn(next); gotOld != wantOld || gotNext != wantNext {
		w.t.Errorf("%s: the old logs in: %v, the new: %v; want %v and %v", at, gotOld, gotNext, wantOld, wantNext)
	}
}

func create(t *testing.T, r rotator.Rotator, current rotator.Credential) rotator.Credential {
	t.Helper()
	next, err := r.Create(t.Context(), current)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// must fails the test when err is one.
func must(t *testing.T, step string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", step, err)
	}
}

func TestAlternatingRolesTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.EndSessions = true
	r := w.rotator()
	if !rotator.Overlaps(r) {
		t.Error("alternating roles overlap")
	}
	current := w.one
	for turn := range 3 {
		session, err := w.connect(current)
		must(t, "an application's session", err)
		next := create(t, r, current)
		if next["username"] == current["username"] || next["password"] == current["password"] || next["region"] != "eu" {
			t.Fatalf("the next credential is of %s and region %q", next["username"], next["region"])
		}
		w.accepts("created", current, next, true, false)
		must(t, "set", r.Set(t.Context(), current, next))
		w.accepts("set", current, next, true, true)
		must(t, "test", r.Test(t.Context(), next))
		must(t, "the old session", session.Ping(t.Context()))
		must(t, "finish", r.Finish(t.Context(), current, next))
		w.accepts("finished", current, next, false, true)
		if err := session.Ping(t.Context()); err == nil {
			t.Errorf("turn %d: a session of the retired role goes on", turn)
		}
		current = next
	}
	address, err := url.Parse(current["url"])
	must(t, "the part url", err)
	if password, _ := address.User.Password(); password != current["password"] || address.User.Username() != current["username"] ||
		address.Host != "db.example.org" || address.RawQuery != "sslmode=verify-full" {
		t.Error("the part url was not changed with the login, or more of it was")
	}
}

func TestRevokeTakesTheNewLoginBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.rotator()
	next := create(t, r, w.one)
	must(t, "revoke before set", r.Revoke(t.Context(), w.one, next))
	w.accepts("revoked before set", w.one, next, true, false)
	must(t, "set", r.Set(t.Context(), w.one, next))
	for range 2 {
		must(t, "revoke", r.Revoke(t.Context(), w.one, next))
		w.accepts("revoked", w.one, next, true, false)
	}
	if err := r.Test(t.Context(), next); !errors.Is(err, rotator.ErrRefused) {
		t.Errorf("the test of a revoked login says %v", err)
	}
}

// TestNobodyIsLockedOut calls Finish and Revoke when what shall stay does not log in.
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

// TestFinishOfAnEarlierRotation comes late, when the role it would retire is the current one again.
func TestFinishOfAnEarlierRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.EndSessions = true
	r := w.rotator()
	two := create(t, r, w.one)
	must(t, "set", r.Set(t.Context(), w.one, two))
	must(t, "finish", r.Finish(t.Context(), w.one, two))
	three := create(t, r, two)
	must(t, "set", r.Set(t.Context(), two, three))
	session, err := w.connect(three)
	must(t, "session", err)
	must(t, "finish again", r.Finish(t.Context(), w.one, two))
	w.accepts("late", two, three, true, true)
	must(t, "the session", session.Ping(t.Context()))
	_ = session.Close(t.Context())
}

func TestOneRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.Role, w.config.AlternatingRoles = w.config.AlternatingRoles[0], nil
	r := w.rotator()
	if rotator.Overlaps(r) {
		t.Error("one role has one password")
	}
	next := create(t, r, w.one)
	for range 2 {
		must(t, "set", r.Set(t.Context(), w.one, next))
		w.accepts("set", w.one, next, false, true)
	}
	must(t, "test", r.Test(t.Context(), next))
	for range 2 {
		must(t, "revoke", r.Revoke(t.Context(), w.one, next))
		w.accepts("revoked", w.one, next, true, false)
	}
	must(t, "set", r.Set(t.Context(), w.one, next))
	must(t, "finish", r.Finish(t.Context(), w.one, next))
	w.accepts("finished", w.one, next, false, true)
}

// TestNoRotationStartsFromAnUnfitCredential stores the login of an application in ways that a rotation cannot undo, or retire.
func TestNoRotationStartsFromAnUnfitCredential(t *testing.T) {
	t.Parallel()
	t.Run("alternating", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		rotatortest.RefusesUnfit(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn})
	})
	t.Run("one role", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.config.Role, w.config.AlternatingRoles = w.config.AlternatingRoles[0], nil
		// They log in, and the rotator cannot make their verifiers.
		var odd []rotatortest.Unfit
		for _, password := range []string{"with a space", "f\u00fcnf"} {
			odd = append(odd, rotatortest.Unfit{
				Name: "a password that cannot be put back", Credential: rotator.Credential{"username": w.config.Role, "password": password},
				Kind: rotator.ErrSetup, Says: "could not be put back",
			})
		}
		rotatortest.RefusesUnfit(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn}, odd...)
	})
}

// TestPasswordThatVerifiersLackIsRetired: two roles are not put back.
func TestPasswordThatVerifiersLackIsRetired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("ALTER ROLE " + quote(w.one["username"]) + " PASSWORD 'with a space'")
	current := rotator.Credential{"username": w.one["username"], "password": "with a space"}
	r := w.rotator()
	next := create(t, r, current)
	must(t, "set", r.Set(t.Context(), current, next))
	must(t, "finish", r.Finish(t.Context(), current, next))
	w.accepts("finished", current, next, false, true)
}

// TestServerNeverSeesThePassword reads what the server logs when it logs every statement, and what it keeps.
func TestServerNeverSeesThePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("ALTER ROLE " + quote(w.admin["username"]) + " SET log_statement = 'all'")
	r := w.rotator()
	next := create(t, r, w.one)
	must(t, "set", r.Set(t.Context(), w.one, next))
	var kept string
	must(t, "what is kept", w.super.QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", next["username"]).Scan(&kept))
	var data string
	must(t, "the data directory", w.super.QueryRow(t.Context(), "SHOW data_directory").Scan(&data))
	log, err := os.ReadFile(filepath.Join(data, "..", "postgres.log"))
	must(t, "the log", err)
	if !strings.Contains(string(log), kept) {
		t.Error("the log has no statement that sets the verifier: the test proves nothing")
	}
	if strings.Contains(string(log), next["password"]) {
		t.Error("the log holds the password")
	}
}

func TestAlternatingRolesKeepEverybodyIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rotatortest.Run(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn})
}

func TestOneRoleHasOnePasswordAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.config.Role, w.config.AlternatingRoles = w.config.AlternatingRoles[0], nil
	rotatortest.Run(t, rotatortest.System{Rotator: w.rotator(), First: w.one, LogsIn: w.logsIn})
}

// TestRolesMustHaveTheSameRights makes the two roles different, one way at a time. Set says how to mend it, and has
// changed nothing.
func TestRolesMustHaveTheSameRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.rotator()
	next := create(t, r, w.one)
	a, b := quote(w.one["username"]), quote(next["username"])
	group, other := quote(w.config.Database+"_group"), quote(w.config.Database+"_other")
	w.exec("CREATE ROLE " + other)
	for _, tc := range []struct{ do, undo, want string }{
		{"GRANT " + other + " TO " + a, "REVOKE " + other + " FROM " + a, "GRANT " + other + " TO " + b},
		{"GRANT " + other + " TO " + b, "REVOKE " + other + " FROM " + b, "GRANT " + other + " TO " + a},
		{"GRANT " + group + " TO " + a + " WITH ADMIN OPTION", "REVOKE ADMIN OPTION FOR " + group + " FROM " + a, "with different options"},
		{"ALTER ROLE " + b + " NOINHERIT", "ALTER ROLE " + b + " INHERIT", "attribute rolinherit differs"},
		{"ALTER ROLE " + a + " SET work_mem = '7MB'", "ALTER ROLE " + a + " RESET work_mem", "setting work_mem differs"},
		{"ALTER ROLE " + b + " IN DATABASE " + quote(w.config.Database) + " SET work_mem = '7MB'",
			"ALTER ROLE " + b + " IN DATABASE " + quote(w.config.Database) + " RESET work_mem", "setting work_mem in the database"},
		{"GRANT SELECT ON orders TO " + a, "REVOKE SELECT ON orders FROM " + a, "the table orders: let a group role have it"},
		{"CREATE TABLE own (); ALTER TABLE own OWNER TO " + b, "DROP TABLE own", "the table own: let a group role have it"},
		{"CREATE POLICY mine ON orders TO " + a, "DROP POLICY mine ON orders", "policy mine on table orders"},
	} {
		w.exec(tc.do)
		err := r.Set(t.Context(), w.one, next)
		if !errors.Is(err, rotator.ErrSetup) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "7MB") {
			t.Errorf("%s: set says %v, want %q", tc.do, err, tc.want)
		}
		w.accepts(tc.do, w.one, next, true, false)
		w.exec(tc.undo)
	}
	must(t, "set", r.Set(t.Context(), w.one, next))
}

// TestTemporaryTablesAreNoRights has an application own some while it is rotated.
func TestTemporaryTablesAreNoRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	session, err := w.connect(w.one)
	must(t, "session", err)
	defer session.Close(context.Background())
	_, err = session.Exec(t.Context(), "CREATE TEMPORARY TABLE scratch (n serial, s text)")
	must(t, "a temporary table", err)
	r := w.rotator()
	must(t, "set", r.Set(t.Context(), w.one, create(t, r, w.one)))
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next := create(t, w.rotator(), w.one)
	for _, tc := range []struct {
		name string
		with func(*postgres.Config, rotator.Credential)
		kind error
		want string
	}{
		{"wrong password", func(_ *postgres.Config, admin rotator.Credential) { admin["password"] = "guessed-by-nobody" }, rotator.ErrRights, "cannot log in as administrator"},
		{"no rights", func(_ *postgres.Config, admin rotator.Credential) {
			admin["username"], admin["password"] = w.one["username"], w.one["password"]
		}, rotator.ErrRights, "the right to do it is missing"},
		{"nobody there", func(c *postgres.Config, _ rotator.Credential) { c.Port = 1 }, rotator.ErrUnreachable, "127.0.0.1:1"},
		{"no database", func(c *postgres.Config, _ rotator.Credential) { c.Database = "nowhere" }, rotator.ErrSetup, "there is no database nowhere"},
		{"no role", func(c *postgres.Config, _ rotator.Credential) { c.AlternatingRoles[1] = "no such" }, rotator.ErrSetup, `CREATE ROLE "no such" NOLOGIN`},
		{"no TLS", func(c *postgres.Config, _ rotator.Credential) { c.TLS.Disabled = false }, rotator.ErrUnreachable, "log in as administrator"},
	} {
		config, admin := w.config, rotator.Credential{"username": w.admin["username"], "password": w.admin["password"]}
		config.AlternatingRoles = []string{w.config.AlternatingRoles[0], w.config.AlternatingRoles[1]}
		tc.with(&config, admin)
		r, err := postgres.New(config, admin)
		must(t, tc.name, err)
		target := rotator.Credential{"username": config.AlternatingRoles[1], "password": next["password"]}
		err = r.Set(t.Context(), w.one, target)
		if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: set says %v, want %v with %q", tc.name, err, tc.kind, tc.want)
		}
		for _, c := range []rotator.Credential{w.one, next, admin} {
			if err != nil && strings.Contains(err.Error(), c["password"]) {
				t.Errorf("%s: the error holds a password", tc.name)
			}
		}
	}
	if err := w.rotator().Set(t.Context(), w.one, w.one); !errors.Is(err, rotator.ErrSetup) {
		t.Errorf("the same role twice: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	two := []string{"a", "b"}
	for _, tc := range []struct {
		config postgres.Config
		want   string
	}{
		{postgres.Config{Database: "d", Role: "a"}, "give the host and the database"},
		{postgres.Config{Host: "h", Role: "a"}, "give the host and the database"},
		{postgres.Config{Host: "h", Database: "d"}, "give either role or alternatingRoles"},
		{postgres.Config{Host: "h", Database: "d", Role: "a", AlternatingRoles: two}, "give either role or alternatingRoles"},
		{postgres.Config{Host: "h", Database: "d", AlternatingRoles: []string{"a", "a"}}, "alternatingRoles are two different names"},
		{postgres.Config{Host: "h", Database: "d", Role: "a", EndSessions: true}, "endSessions is for alternatingRoles"},
		{postgres.Config{Host: "h", Database: "d", Role: "a", Port: 70000}, "70000 is no port"},
		{postgres.Config{Host: "h", Database: "d", Role: "a", TLS: rotator.TLS{CA: "none"}}, "no certificate in PEM"},
		{postgres.Config{Host: "h", Database: "d", Role: "a", TLS: rotator.TLS{Disabled: true, ServerName: "h"}}, "leave out either"},
		{postgres.Config{Host: "h", Database: "d", Role: "a", Password: generate.Password{Length: 3}}, "give a length"},
	} {
		_, err := postgres.New(tc.config, rotator.Credential{"username": "u", "password": "p"})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want %q", tc.config, err, tc.want)
		}
	}
	if _, err := postgres.New(postgres.Config{Host: "h", Database: "d", Role: "a"}, rotator.Credential{"username": "u"}); !errors.Is(err, rotator.ErrSetup) {
		t.Errorf("no password of the administrator: %v", err)
	}
}
