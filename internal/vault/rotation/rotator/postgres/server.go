package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// patience bounds one step: a few statements, and what may hold them up.
const patience = 30 * time.Second

// server is the PostgreSQL of a Config.
type server struct {
	config Config
	admin  rotator.Credential
}

func (s *server) address() string {
	return net.JoinHostPort(s.config.Host, strconv.Itoa(s.config.port()))
}

// dial connects with a login. Nothing of this process's environment counts, which PostgreSQL's clients read.
func (s *server) dial(ctx context.Context, login rotator.Credential) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=localhost user=nobody password=none dbname=none sslmode=disable passfile=/dev/null " +
		"channel_binding=prefer target_session_attrs=any connect_timeout=20")
	if err != nil {
		return nil, fmt.Errorf("%w: the environment holds settings of PostgreSQL's clients that cannot be read; unset PG…", rotator.ErrSetup)
	}
	config.Host, config.Port = s.config.Host, uint16(s.config.port())
	config.Database, config.User, config.Password = s.config.Database, login.Username(), login.Password()
	config.Fallbacks = nil
	// A server that asks for no password (trust) would let in every one, and so a login would prove nothing.
	config.RequireAuth = "md5,scram-sha-256"
	if !s.config.TLS.Disabled {
		config.RequireAuth += ",password" // in the clear, inside TLS
	}
	config.RuntimeParams = map[string]string{"application_name": "coffer rotator"}
	if config.TLSConfig, err = s.config.TLS.Config(s.config.Host); err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, config)
}

// login uses c: it connects, and asks for something. It is nil, or wraps rotator.ErrRefused when the server knows the
// login and refuses it.
func (s *server) login(ctx context.Context, c rotator.Credential) error {
	conn, err := s.dial(ctx, c)
	if err != nil {
		return s.explain("log in as "+c.Username(), err, rotator.ErrRefused)
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := conn.Ping(ctx); err != nil {
		return s.explain("use the login of "+c.Username(), err, rotator.ErrRefused)
	}
	return nil
}

// accepts reports whether the server lets c in.
func (s *server) accepts(ctx context.Context, c rotator.Credential) (bool, error) {
	err := s.login(ctx, c)
	if errors.Is(err, rotator.ErrRefused) {
		return false, nil
	}
	return err == nil, err
}

// alone runs do as administrator, in a transaction, while no other rotator does so for these roles.
func (s *server) alone(ctx context.Context, do func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := s.dial(ctx, s.admin)
	if err != nil {
		return s.explain("log in as administrator", err, rotator.ErrRights)
	}
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return s.explain("begin a transaction", err, rotator.ErrRights)
	}
	// The connection is closed after, which rolls back what was not committed.
	lock := "coffer rotator " + s.config.Role + strings.Join(s.config.AlternatingRoles, " ")
	if _, err := tx.Exec(ctx, `SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))`, lock); err != nil {
		return s.explain("wait for other rotators of these roles", err, rotator.ErrRights)
	}
	if err := do(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return s.explain("commit", err, rotator.ErrRights)
	}
	return nil
}

// setPassword has role accept password, and log in. The server is given the verifier only, so that no log of
// statements holds the password.
func (s *server) setPassword(ctx context.Context, tx pgx.Tx, role, password string) error {
	v, err := newVerifier(password)
	if err != nil {
		return err
	}
	// ALTER ROLE takes no parameters. The verifier has nothing in it that a string's quotes must guard.
	_, err = tx.Exec(ctx, "ALTER ROLE "+pgx.Identifier{role}.Sanitize()+" LOGIN PASSWORD '"+v+"'")
	return s.explain("set the password of "+role, err, rotator.ErrRights)
}

// explain says in our own words why doing something failed, and drops the driver's. refused is what it wraps when the
// login, or a right, is to blame.
func (s *server) explain(doing string, err, refused error) error {
	if err == nil || errors.Is(err, rotator.ErrSetup) {
		return err
	}
	where := "cannot " + doing + " at PostgreSQL " + s.address()
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		if kind := rotator.Certificate(err); kind != "" {
			return fmt.Errorf("%w: %s: %s", rotator.ErrSetup, where, kind)
		}
		if strings.Contains(err.Error(), "require_auth") { // pgconn has no type for it
			return fmt.Errorf("%w: %s: pg_hba.conf asks logins from here for no password (or, without TLS, for one in the clear), so none could be tested; have it ask for scram-sha-256",
				rotator.ErrSetup, where)
		}
		return rotator.Unreachable(where, err)
	}
	where += " (SQLSTATE " + server.Code + ")"
	switch {
	case server.Code == "28P01":
		return fmt.Errorf("%w: %s: the password is wrong, or has expired", refused, where)
	case strings.HasPrefix(server.Code, "28"):
		return fmt.Errorf("%w: %s: the role may not log in, or pg_hba.conf does not let it in from here", refused, where)
	case server.Code == "42501":
		return fmt.Errorf("%w: %s: the right to do it is missing; see docs/guides/rotators.md for those needed", refused, where)
	case server.Code == "42704":
		return fmt.Errorf("%w: %s: there is no such role", rotator.ErrSetup, where)
	case server.Code == "3D000":
		return fmt.Errorf("%w: %s: there is no database %s", rotator.ErrSetup, where, s.config.Database)
	case server.Code == "25006":
		return fmt.Errorf("%w: %s: it is a standby; give the address of the primary", rotator.ErrSetup, where)
	}
	return rotator.Unreachable(where, err)
}
