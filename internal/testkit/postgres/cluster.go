package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Superuser is the name of the role every server here is made with.
const Superuser = "postgres"

// Cluster is a PostgreSQL data directory and how its server is reached. (PostgreSQL calls the databases of one
// server a cluster.)
type Cluster struct {
	// Dir holds the data (Dir/data) and the server's log and process id. It must exist.
	Dir string
	// Port the server listens on.
	Port int
	// Listen are the addresses it listens on; the first is the one in DSN. Empty means 127.0.0.1.
	Listen []string
	// AllowFrom are networks in CIDR notation whose hosts may log in with the password, beside this host.
	AllowFrom []string
	// Password of the superuser.
	Password string
	// Durable keeps fsync on, for tests of crashes and for data worth keeping.
	Durable bool
}

// DSN is the address of a database of the cluster, for the superuser.
func (c Cluster) DSN(database string) string { return c.DSNAs(Superuser, database) }

// DSNAs is the address of a database of the cluster, for the superuser or a role of EnsureRole.
func (c Cluster) DSNAs(role, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(role, c.Password),
		Host:     net.JoinHostPort(c.listen()[0], strconv.Itoa(c.Port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

func (c Cluster) listen() []string {
	if len(c.Listen) == 0 {
		return []string{"127.0.0.1"}
	}
	return c.Listen
}

func (c Cluster) data() string { return filepath.Join(c.Dir, "data") }

// Exists reports whether the data directory has been initialised.
func (c Cluster) Exists() bool {
	_, err := os.Stat(filepath.Join(c.data(), "PG_VERSION"))
	return err == nil
}

// Init makes the data directory. It asks for a password of everyone who connects.
func (c Cluster) Init(ctx context.Context) error {
	bin, err := BinDir()
	if err != nil {
		return err
	}
	who, err := serverOwner()
	if err != nil {
		return err
	}
	if err := who.give(c.Dir); err != nil {
		return fmt.Errorf("giving %s to the server's user: %w", c.Dir, err)
	}
	pwfile := filepath.Join(c.Dir, "superuser-password")
	if err := os.WriteFile(pwfile, []byte(c.Password+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the superuser's password: %w", err)
	}
	defer os.Remove(pwfile)
	if err := who.give(pwfile); err != nil {
		return fmt.Errorf("giving %s to the server's user: %w", pwfile, err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"),
		"--pgdata="+c.data(), "--username="+Superuser, "--pwfile="+pwfile, "--auth=scram-sha-256",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	cmd.Dir = "/" // entered before the child has the right to reach its own
	cmd.SysProcAttr = who.attr(c.Dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("initdb in %s: %w:\n%s", c.Dir, err, out.String())
	}
	return c.admit()
}

// admit writes who may connect from where into pg_hba.conf; of first and the usual rules
// the first that fits counts.
func (c Cluster) admit(first ...string) error {
	var rules strings.Builder
	for _, rule := range first {
		fmt.Fprintln(&rules, rule)
	}
	for _, network := range append([]string{"127.0.0.1/32", "::1/128"}, c.AllowFrom...) {
		fmt.Fprintf(&rules, "host all all %s scram-sha-256\nhost replication all %s scram-sha-256\n", network, network)
	}
	if err := os.WriteFile(filepath.Join(c.data(), "pg_hba.conf"), []byte(rules.String()), 0o600); err != nil {
		return fmt.Errorf("writing pg_hba.conf: %w", err)
	}
	return nil
}

// Command is the server of the cluster, to be started by the caller; it stays in the foreground and logs to its
// standard error. SIGINT stops it in order.
func (c Cluster) Command() (*exec.Cmd, error) {
	bin, err := BinDir()
	if err != nil {
		return nil, err
	}
	who, err := serverOwner()
	if err != nil {
		return nil, err
	}
	args := []string{"-D", c.data()}
	for _, setting := range c.settings() {
		args = append(args, "-c", setting)
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	cmd.Dir = "/" // the server enters its data directory by itself
	cmd.SysProcAttr = who.attr(c.Dir)
	return cmd, nil
}

func (c Cluster) settings() []string {
	settings := []string{
		"port=" + strconv.Itoa(c.Port),
		"listen_addresses=" + strings.Join(c.listen(), ","),
		"unix_socket_directories=", // TCP only: a socket's path may not be longer than 107 bytes
		"max_connections=200",
		"shared_buffers=64MB",
		"dynamic_shared_memory_type=mmap", // containers often have a tiny /dev/shm
	}
	if !c.Durable {
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	return settings
}

// EnsureRole makes a role that may log in, with the superuser's password, and has no other right, unless there is one
// of the name.
func (c Cluster) EnsureRole(ctx context.Context, role string) (err error) {
	conn, err := pgx.Connect(ctx, c.DSN("postgres"))
	if err != nil {
		return fmt.Errorf("making the role %s: %w", role, err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, role).Scan(&there); err != nil || there {
		return err
	}
	var sql string
	if err := conn.QueryRow(ctx, `SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)`, role, c.Password).Scan(&sql); err != nil {
		return fmt.Errorf("making the role %s: %w", role, err)
	}
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("making the role %s: %w", role, err)
	}
	return nil
}

// Ping reports whether the server answers.
func (c Cluster) Ping(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.DSN("postgres"))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
