package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"github.com/coffer-vault/coffer/internal/vault/address"
)

// codeReadOnly is read_only_sql_transaction: the server became a standby.
const codeReadOnly = "25006"

// Open returns a store on the database at url. It does not wait for the database
// to answer; Close it after use.
func Open(ctx context.Context, url string) (*Store, error) {
	return OpenSource(ctx, address.Source{URL: url}, nil)
}

// OpenSource is Open for an address whose files may change: the next connection is
// made as they say, and those made before are not used again. logger may be nil.
func OpenSource(ctx context.Context, source address.Source, logger *slog.Logger) (*Store, error) {
	l := &live{files: source.Files}
	var err error
	l.watch, err = address.NewWatch(source, func(a address.Address) error {
		_, err := l.parse(a)
		return err
	}, logger)
	if err != nil {
		return nil, err
	}
	config, err := l.parse(l.watch.Current(ctx))
	if err != nil {
		return nil, err
	}
	config.AfterConnect = prepareSession
	sent := &statements{}
	config.ConnConfig.Tracer = sent
	config.BeforeConnect = l.redirect
	config.PrepareConn = l.stillValid
	config.ConnConfig.OnPgError = l.leaveStandby(config.ConnConfig.OnPgError)
	l.pool, err = pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, translate("open the connection pool", err)
	}
	transactions, long := turns(config.MaxConns)
	return &Store{l.pool, sent, semaphore.NewWeighted(transactions), semaphore.NewWeighted(long)}, nil
}

// live keeps a pool at an address that may change.
type live struct {
	watch *address.Watch
	files address.Files
	pool  *pgxpool.Pool
}

// redirect sends a connection that is about to be made to where the address points
// now.
func (l *live) redirect(ctx context.Context, c *pgx.ConnConfig) error {
	fresh, err := l.parse(l.watch.Current(ctx))
	if err != nil {
		return err
	}
	now := fresh.ConnConfig
	c.Host, c.Port, c.Fallbacks = now.Host, now.Port, now.Fallbacks
	c.Database, c.User, c.Password = now.Database, now.User, now.Password
	c.TLSConfig, c.SSLNegotiation, c.SSLCertMode = now.TLSConfig, now.SSLNegotiation, now.SSLCertMode
	c.ValidateConnect = now.ValidateConnect
	return nil
}

// stillValid is false for a connection that was made before the address changed.
func (l *live) stillValid(ctx context.Context, _ *pgx.Conn) (bool, error) {
	if !l.watch.Changed(ctx) {
		return true, nil
	}
	l.pool.Reset()
	return false, nil
}

// leaveStandby drops every connection when the server says that it takes no writes:
// the primary is another now, and the next connections look for it.
func (l *live) leaveStandby(next pgconn.PgErrorHandler) pgconn.PgErrorHandler {
	return func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		if err.Code == codeReadOnly {
			l.pool.Reset()
			return false
		}
		return next(conn, err)
	}
}

// parse reads an address as pgx wants it. A store reads and writes, so it takes a
// primary only, unless the URL says otherwise.
func (l *live) parse(a address.Address) (*pgxpool.Config, error) {
	dsn, err := withMode(a.URL, l.files)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// The error of pgx repeats what it cannot parse, which may be a password.
		return nil, errors.New("read the database URL: it is not like postgres://user:password@host:5432/name?sslmode=verify-full, " +
			"or a file that it names is missing or no certificate")
	}
	switch config.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
		return nil, errors.New("read the database URL: default_query_exec_mode=exec and simple_protocol do not ask the database for the types " +
			"of what is sent, and the vault's cannot be guessed: leave it out, or use describe_exec where statements cannot be prepared")
	default:
	}
	if a.Password != "" {
		config.ConnConfig.Password = a.Password
	}
	if err := addCertificates(config.ConnConfig, a); err != nil {
		return nil, err
	}
	config.ConnConfig.ConnectTimeout = connectTimeout
	if !hasParameter(a.URL, "pool_max_conns") {
		config.MaxConns = defaultConns
	}
	if !hasParameter(a.URL, "target_session_attrs") {
		config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return config, nil
}

// withMode says in the URL how the server is verified, when a file has its authorities.
// The files themselves are no parameters of the URL: pgx would read them again by
// name, and find what came after the address was read.
func withMode(dsn string, files address.Files) (string, error) {
	for _, p := range []struct{ name, file string }{{"sslrootcert", files.CA}, {"sslcert", files.Cert}, {"sslkey", files.Key}} {
		if p.file != "" && hasParameter(dsn, p.name) {
			return "", errors.New("read the database URL: it has " + p.name + ", for which a file is given too: remove one of the two")
		}
	}
	if files.CA == "" {
		return dsn, nil
	}
	switch mode := parameter(dsn, "sslmode"); mode {
	case "":
		return addParameter(dsn, "sslmode", "verify-full"), nil
	case "disable", "allow", "prefer":
		return "", errors.New("read the database URL: sslmode=" + mode + " does not verify the server, though a file with its authorities is given: use sslmode=verify-full")
	case "require":
		// With authorities it means this, as for libpq.
		at := parameterAt(dsn, "sslmode")
		return dsn[:at[2]] + "verify-ca" + dsn[at[3]:], nil
	}
	return dsn, nil
}

// addCertificates puts what the files held into the TLS of every host.
func addCertificates(c *pgx.ConnConfig, a address.Address) error {
	var pool *x509.CertPool
	if a.CA != nil {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(a.CA) {
			return errors.New("the file of Postgres's authorities holds no PEM certificate")
		}
	}
	var pairs []tls.Certificate
	if a.Cert != nil {
		pair, err := tls.X509KeyPair(a.Cert, a.Key)
		if err != nil {
			return fmt.Errorf("read the client certificate for Postgres: %w", err)
		}
		pairs = []tls.Certificate{pair}
	}
	configs := []*tls.Config{c.TLSConfig}
	for _, fallback := range c.Fallbacks {
		configs = append(configs, fallback.TLSConfig)
	}
	for _, config := range configs {
		if config == nil {
			continue
		}
		if pool != nil {
			config.RootCAs = pool
		}
		if pairs != nil {
			config.Certificates = pairs
		}
	}
	return nil
}

func hasParameter(dsn, name string) bool { return parameterAt(dsn, name) != nil }

// parameter is the value of a parameter, for values that need no quotes.
func parameter(dsn, name string) string {
	if at := parameterAt(dsn, name); at != nil {
		return dsn[at[2]:at[3]]
	}
	return ""
}

// parameterAt finds name=value in either form of a URL: after ? or &, or after a
// space.
func parameterAt(dsn, name string) []int {
	return regexp.MustCompile(`(?:^|[?&\s])` + name + `\s*=\s*([^&\s]*)`).FindStringSubmatchIndex(dsn)
}

func addParameter(dsn, name, value string) string {
	if !strings.Contains(dsn, "://") {
		return dsn + " " + name + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
	}
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	return dsn + separator + name + "=" + url.QueryEscape(value)
}
