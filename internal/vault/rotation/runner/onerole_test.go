package runner_test

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/postgres"
	"github.com/coffer-vault/coffer/internal/vault/rotation/runner"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// oneRole is a role of PostgreSQL whose one password is rotated.
type oneRole struct {
	t      *testing.T
	config postgres.Config
	admin  rotator.Credential
}

const rolesPassword = "the-one-it-has"

func newOneRole(t *testing.T) *oneRole {
	t.Helper()
	dsn := testkit.Postgres(t)
	address, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the database's address is no URL")
	}
	port, err := strconv.Atoi(address.Port())
	if err != nil {
		t.Fatal(err)
	}
	database := strings.TrimPrefix(address.Path, "/")
	super, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	role := database + "_app"
	t.Cleanup(func() {
		_, _ = super.Exec(context.Background(), "DROP ROLE "+pgx.Identifier{role}.Sanitize())
		_ = super.Close(context.Background())
	})
	if _, err := super.Exec(t.Context(), "CREATE ROLE "+pgx.Identifier{role}.Sanitize()+" LOGIN PASSWORD '"+rolesPassword+"'"); err != nil {
		t.Fatal(err)
	}
	password, _ := address.User.Password()
	return &oneRole{t: t, admin: rotator.Credential{"username": address.User.Username(), "password": password}, config: postgres.Config{
		Host: address.Hostname(), Port: port, Database: database, TLS: rotator.TLS{Disabled: true}, Role: role,
	}}
}

// rotates has r's runs rotate the role.
func (o *oneRole) rotates(r *runner.Runner) *runner.Runner {
	r.Rotators = func(context.Context, rotation.Method, runner.Reader) (rotator.Rotator, error) {
		return postgres.New(o.config, o.admin)
	}
	return r
}

// accepts reports whether the role logs in.
func (o *oneRole) accepts(password string) bool {
	o.t.Helper()
	r, err := postgres.New(o.config, o.admin)
	if err != nil {
		o.t.Fatal(err)
	}
	return r.Test(o.t.Context(), rotator.Credential{"username": o.config.Role, "password": password}) == nil
}

// TestLoginThatCannotBePutBack ends its rotation before the role's password is changed, and says what to store.
func TestLoginThatCannotBePutBack(t *testing.T) {
	role := newOneRole(t)
	s := start(t, vaulttest.Config{})
	s.run(role.rotates(s.runner(s.Engine)))
	for value, want := range map[string]string{
		"just-a-password":                                `the secret has no property "username"; store the login that works as the properties username and password`,
		`{"user":"app","pass":"just-a-password"}`:        `the secret has no property "username"; store`,
		`{"username":"` + role.config.Role + `"}`:        `the secret has no property "password"; store`,
		role.login("sm\u00f8rrebr\u00f8d"):               "the password in the secret could not be put back",
		role.login("that-of-yesterday-which-is-no-more"): "could neither go back to the login in the secret nor retire it: store the login that works",
	} {
		s.Put(t, thePath, value)
		asked := s.ask(false)
		run := s.until("the end", func(r rotation.Run) bool { return r.ID == asked.ID && r.State.Ended() })
		if run.State != rotation.RolledBack || run.FailedIn != rotation.Planned || run.To != 0 || !strings.Contains(run.Reason, want) {
			t.Errorf("it is %s, failed in %s with version %d: %q; want %q", run.State, run.FailedIn, run.To, run.Reason, want)
		}
		if !role.accepts(rolesPassword) {
			t.Fatal("the role's password was changed")
		}
	}
}

// login is what a secret holds.
func (o *oneRole) login(password string) string {
	text, err := json.Marshal(map[string]string{"username": o.config.Role, "password": password})
	if err != nil {
		o.t.Fatal(err)
	}
	return string(text)
}

// TestOneRoleWhenKilledAfterSet: the role refuses the current password by then, and the run goes on all the same.
func TestOneRoleWhenKilledAfterSet(t *testing.T) {
	role := newOneRole(t)
	s := start(t, vaulttest.Config{})
	s.Put(t, thePath, role.login(rolesPassword))
	s.ask(false)
	killed := &dying{Engine: s.Engine, action: rotation.SetNext, died: make(chan struct{})}
	first := role.rotates(s.runner(killed))
	first.Lease = 2 * time.Second
	end := s.run(first)
	select {
	case <-killed.died:
	case <-time.After(within):
		t.Fatal("nobody was killed")
	}
	end()
	if role.accepts(rolesPassword) {
		t.Fatal("the role's password was not changed yet: the test proves nothing")
	}
	s.run(role.rotates(s.runner(s.Env.Open(t))))
	run := s.until("the end", func(r rotation.Run) bool { return r.State.Ended() })
	if run.State != rotation.Done {
		t.Fatalf("it is %s: %s", run.State, run.Reason)
	}
	found, err := s.Engine.Read(t.Context(), s.Admin, secret.Ref{Path: s.path})
	if err != nil {
		t.Fatal(err)
	}
	parts, _ := secret.Properties(found.Value)
	if !role.accepts(parts["password"]) || role.accepts(rolesPassword) {
		t.Error("the role does not have the password of the current version alone")
	}
}
