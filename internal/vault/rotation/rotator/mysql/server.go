package mysql

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

const (
	// patience bounds one step: a few statements, and what may hold them up.
	patience = 30 * time.Second
	// lockPatience bounds the wait for another rotator of the same accounts.
	lockPatience = 20 * time.Second
)

// server is the one of a Config.
type server struct {
	config Config
	admin  rotator.Credential
}

func (s *server) address() string {
	return net.JoinHostPort(s.config.Host, strconv.Itoa(s.config.port()))
}

// dial returns one connection that is logged in, and what closes it.
func (s *server) dial(ctx context.Context, login rotator.Credential) (*sql.Conn, func(), error) {
	config := driver.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = "tcp", s.address(), login.Username(), login.Password()
	config.Timeout, config.ReadTimeout, config.WriteTimeout = patience, patience, patience
	// ALTER USER takes no parameters, so the driver writes them into the statement, quoted as the server wants it.
	config.InterpolateParams = true
	config.Logger = &driver.NopLogger{}
	secured, err := s.config.TLS.Config(s.config.Host)
	if err != nil {
		return nil, nil, err
	}
	config.TLS = secured
	connector, err := driver.NewConnector(config)
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(connector)
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, nil, err
	}
	return conn, func() { _ = conn.Close(); _ = db.Close() }, nil
}

// login uses c: it connects, and asks for something. It is nil, or wraps rotator.ErrRefused when the server knows the
// login and refuses it.
func (s *server) login(ctx context.Context, c rotator.Credential) error {
	conn, done, err := s.dial(ctx, c)
	if err != nil {
		return s.explain("log in as "+c.Username(), err, rotator.ErrRefused)
	}
	defer done()
	return s.explain("use the login of "+c.Username(), conn.PingContext(ctx), rotator.ErrRefused)
}

// accepts reports whether the server lets c in.
func (s *server) accepts(ctx context.Context, c rotator.Credential) (bool, error) {
	err := s.login(ctx, c)
	if errors.Is(err, rotator.ErrRefused) {
		return false, nil
	}
	return err == nil, err
}

// session is a connection of the administrator's while no other rotator has one for the same accounts.
type session struct {
	*server
	conn    *sql.Conn
	mariadb bool
}

// alone runs do in a session. The lock ends with the connection.
func (s *server) alone(ctx context.Context, do func(context.Context, *session) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, done, err := s.dial(ctx, s.admin)
	if err != nil {
		return s.explain("log in as administrator", err, rotator.ErrRights)
	}
	defer done()
	// A lock's name has 64 characters at most.
	sum := sha256.Sum256([]byte(s.config.User + strings.Join(s.config.AlternatingUsers, "\x00") + "@" + s.config.accountHost()))
	var got sql.NullInt64
	err = conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", "coffer "+hex.EncodeToString(sum[:16]), int(lockPatience.Seconds())).Scan(&got)
	if err != nil {
		return s.explain("wait for other rotators of these accounts", err, rotator.ErrRights)
	}
	if got.Int64 != 1 {
		return rotator.Unreachable("another rotator of these accounts is busy at "+s.address(), nil)
	}
	var version string
	if err := conn.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return s.explain("ask for the version", err, rotator.ErrRights)
	}
	return do(ctx, &session{server: s, conn: conn, mariadb: strings.Contains(version, "MariaDB")})
}

// setPassword has the account accept password, and log in. MariaDB is given the verifier only, since its general log
// has statements as they came; MySQL writes passwords to no log.
func (s *session) setPassword(ctx context.Context, user, password string) error {
	if password == "" { // MySQL would let in everybody
		return fmt.Errorf("%w: the password is empty", rotator.ErrSetup)
	}
	return s.alter(ctx, "set the password of "+user, user, password, "ACCOUNT UNLOCK")
}

// lock ends the account's logins, and gives it a password that nobody knows.
func (s *session) lock(ctx context.Context, user string) error {
	return s.alter(ctx, "retire "+user, user, rand.Text(), "ACCOUNT LOCK")
}

func (s *session) alter(ctx context.Context, doing, user, password, state string) error {
	statement, secret := "ALTER USER ?@? IDENTIFIED BY ? "+state, password //nolint:gosec // state is one of two words of SQL, given above
	if s.mariadb {
		var err error
		if secret, err = verifier(s.config.authentication(), password); err != nil {
			return err
		}
		statement = "ALTER USER ?@? IDENTIFIED VIA " + string(s.config.authentication()) + " USING ? " + state
	}
	_, err := s.conn.ExecContext(ctx, statement, user, s.config.accountHost(), secret)
	return s.explain(doing, err, rotator.ErrRights)
}

// Errors of the server, which MariaDB and MySQL share but for the last two.
const (
	noDatabaseAccess  = 1044
	noSuchThread      = 1094
	accessDenied      = 1045
	tableAccessDenied = 1142
	noSuchGrant       = 1141
	needsPrivilege    = 1227
	readOnly          = 1290
	cannotUser        = 1396
	passwordExpired   = 1862
	weakPassword      = 1819
	lockedMySQL       = 3118
	lockedMariaDB     = 4151
)

// explain says in our own words why doing something failed, and drops the driver's and the server's, which may repeat
// a statement. refused is what it wraps when the login, or a right, is to blame.
func (s *server) explain(doing string, err, refused error) error {
	if err == nil || errors.Is(err, rotator.ErrSetup) {
		return err
	}
	where := "cannot " + doing + " at " + s.address()
	var server *driver.MySQLError
	if !errors.As(err, &server) {
		if kind := rotator.Certificate(err); kind != "" {
			return fmt.Errorf("%w: %s: %s", rotator.ErrSetup, where, kind)
		}
		if errors.Is(err, driver.ErrNoTLS) {
			return fmt.Errorf("%w: %s: the server has no TLS; give it a certificate", rotator.ErrSetup, where)
		}
		return rotator.Unreachable(where, err)
	}
	where += fmt.Sprintf(" (error %d)", server.Number)
	switch server.Number {
	case accessDenied, passwordExpired, lockedMySQL, lockedMariaDB:
		return fmt.Errorf("%w: %s: the password is wrong or has expired, or the account is locked", refused, where)
	case noDatabaseAccess, tableAccessDenied, needsPrivilege:
		return fmt.Errorf("%w: %s: the right to do it is missing; see docs/guides/rotators.md for those needed", refused, where)
	case noSuchGrant, cannotUser:
		missing := "there is no such account for the host " + s.config.accountHost()
		if s.config.authentication() == Ed25519 {
			missing += ", or the server lacks the plugin: INSTALL SONAME 'auth_ed25519'"
		}
		return fmt.Errorf("%w: %s: %s", rotator.ErrSetup, where, missing)
	case readOnly:
		return fmt.Errorf("%w: %s: it is read-only; give the address of the primary", rotator.ErrSetup, where)
	case weakPassword:
		return fmt.Errorf("%w: %s: its policy wants other passwords; have the rotator's password meet it", rotator.ErrSetup, where)
	}
	return rotator.Unreachable(where, err)
}

// isNumber reports whether err is the server's error of that number.
func isNumber(err error, number uint16) bool {
	var server *driver.MySQLError
	return errors.As(err, &server) && server.Number == number
}
