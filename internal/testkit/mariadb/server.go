// Package mariadb runs private MariaDB servers for tests: never the system's.
package mariadb

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// ErrNotInstalled says that this machine has no MariaDB server.
var ErrNotInstalled = errors.New("no mariadbd and mariadb-install-db in PATH or /usr/sbin: install them with: apt-get install mariadb-server")

// startWithin is the time a server may take to come up; a loaded machine needs most of it.
const startWithin = 60 * time.Second

// account is the system user MariaDB runs as when we are root. Its package creates it.
const account = "mysql"

// Superuser is the account that may do everything, from anywhere.
const Superuser = "super"

// Server is a private MariaDB, gone with this program.
type Server struct {
	dir      string
	port     int
	password string
	tls      bool
	guard    *process.Guard
	proc     *process.Process
}

// Options of Start; the zero value is a server without TLS.
type Options struct {
	// Cert and Key are what the server shows to those who ask for TLS, in PEM.
	Cert, Key []byte
}

// Start makes a database in a scratch directory and starts its server on a free loopback port. The caller must Close it;
// a program that dies before it does leaves nothing behind either.
func Start(ctx context.Context, opts Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "coffer-mariadb-")
	if err != nil {
		return nil, fmt.Errorf("making a scratch directory: %w", err)
	}
	guard, err := process.NewGuard(dir, "TERM")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s := &Server{dir: dir, password: rand.Text(), tls: opts.Cert != nil, guard: guard}
	if err := s.install(ctx, opts); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for range 3 { // somebody may take the port between our choice and the server's start
		if s.port, err = process.FreePort(); err != nil {
			break
		}
		if err = s.launch(ctx); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(err, s.Close())
}

// install makes the data directory, and the statements that make the superuser.
func (s *Server) install(ctx context.Context, opts Options) error {
	program, err := find("mariadb-install-db")
	if err != nil {
		return err
	}
	// The system's account must reach what is in the directory, and the logs are ours.
	if err := os.Chmod(s.dir, 0o755); err != nil {
		return err
	}
	statements := "CREATE USER IF NOT EXISTS " + Superuser + "@'%' IDENTIFIED BY '" + s.password + "';\n" +
		"GRANT ALL ON *.* TO " + Superuser + "@'%' WITH GRANT OPTION;\n"
	files := map[string][]byte{"init.sql": []byte(statements), "server.crt": opts.Cert, "server.key": opts.Key}
	for name, content := range files {
		if err := os.WriteFile(s.file(name), content, 0o600); err != nil {
			return err
		}
	}
	for _, dir := range []string{"data", "run"} {
		if err := os.Mkdir(s.file(dir), 0o700); err != nil {
			return err
		}
	}
	args := []string{"--no-defaults", "--datadir=" + s.file("data"), "--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve"}
	if os.Geteuid() == 0 {
		if err := s.give("data", "run", "init.sql", "server.crt", "server.key"); err != nil {
			return err
		}
		args = append(args, "--user="+account)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mariadb-install-db in %s: %w:\n%s", s.dir, err, out.String())
	}
	return nil
}

// give makes files the account's.
func (s *Server) give(names ...string) error {
	u, err := user.Lookup(account)
	if err != nil {
		return fmt.Errorf("MariaDB should not run as root and there is no user %q to run it: apt-get install mariadb-server makes one: %w", account, err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if uidErr != nil || gidErr != nil {
		return fmt.Errorf("user %q has ids %q and %q, which are no numbers", account, u.Uid, u.Gid)
	}
	for _, name := range names {
		if err := os.Chown(s.file(name), uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	program, err := find("mariadbd")
	if err != nil {
		return err
	}
	args := []string{
		"--no-defaults", "--datadir=" + s.file("data"), "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(s.port),
		"--socket=" + s.file("run/socket"), "--pid-file=" + s.file("run/server.pid"), "--init-file=" + s.file("init.sql"),
		"--skip-name-resolve", "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0",
		"--general-log", "--general-log-file=" + s.file("run/general.log"),
	}
	if s.tls {
		args = append(args, "--ssl-cert="+s.file("server.crt"), "--ssl-key="+s.file("server.key"))
	}
	if os.Geteuid() == 0 {
		args = append(args, "--user="+account)
	}
	proc, err := process.Start(exec.Command(program, args...), s.dir, "mariadb")
	if err != nil {
		return err
	}
	if err := proc.AwaitReady(ctx, s.Ping); err != nil {
		return errors.Join(err, proc.Kill())
	}
	s.proc = proc
	return nil
}

// Address is where the server listens, as host:port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Password is the superuser's.
func (s *Server) Password() string { return s.password }

// GeneralLog is the file in which the server writes every statement as it came.
func (s *Server) GeneralLog() string { return s.file("run/general.log") }

// Open logs in. The caller closes what it returns.
func (s *Server) Open(name, password string) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd = "tcp", s.Address(), name, password
	config.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Ping reports whether the server answers.
func (s *Server) Ping(ctx context.Context) error {
	db, err := s.Open(Superuser, s.password)
	if err != nil {
		return err
	}
	return errors.Join(db.PingContext(ctx), db.Close())
}

// Close stops the server and removes its data.
func (s *Server) Close() error {
	var err error
	if s.proc != nil {
		err = s.proc.Stop(context.Background(), syscall.SIGTERM)
	}
	return errors.Join(err, s.guard.Release())
}

// find is the path of a program, which Debian keeps off some people's PATH.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path := filepath.Join("/usr/sbin", name)
	if _, err := os.Stat(path); err != nil {
		return "", ErrNotInstalled
	}
	return path, nil
}
