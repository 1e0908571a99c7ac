package redisconn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/coffer-vault/coffer/internal/vault/address"
)

// mode is how Redis is run.
type mode string

const (
	single   mode = ""
	sentinel mode = "sentinel"
	cluster  mode = "cluster"
)

// The defaults of Redis and of Sentinel.
const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// patience bounds a dial, and one read or write: what a cache may cost.
const patience = 250 * time.Millisecond

// errURL never repeats the URL, which may hold a password.
var errURL = errors.New("it is like none of redis://:password@host:6379/0, " +
	"redis+sentinel://:password@host:26379,host:26379/master/0 and redis+cluster://:password@host:6379,host:6379, " +
	"each also with rediss for TLS")

// endpoint is an address as go-redis wants it.
type endpoint struct {
	mode    mode
	network string // unix for a socket; else empty
	options redis.UniversalOptions
}

// parse reads an address. The forms of the URL are described in the package comment.
func parse(a address.Address) (endpoint, error) {
	e, err := parseURL(a.URL)
	if err != nil {
		return endpoint{}, fmt.Errorf("read the Redis URL: %w", err)
	}
	if a.Password != "" {
		e.options.Password = a.Password
	}
	if err := e.addCertificates(a); err != nil {
		return endpoint{}, err
	}
	o := &e.options
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = patience, patience, patience, patience
	o.MaxRetries, o.DialerRetries = -1, 1
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return e, nil
}

func parseURL(raw string) (endpoint, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	base, kind, _ := strings.Cut(scheme, "+")
	if !ok || base != "redis" && base != "rediss" && scheme != "unix" {
		return endpoint{}, errURL
	}
	switch m := mode(kind); m {
	case single:
		return parseSingle(raw)
	case sentinel, cluster:
		return parseSeveral(m, base == "rediss", rest)
	}
	return endpoint{}, errURL
}

// parseSingle leaves the URL of one server to go-redis.
func parseSingle(raw string) (endpoint, error) {
	o, err := redis.ParseURL(raw)
	if err != nil {
		return endpoint{}, errURL
	}
	return endpoint{mode: single, network: o.Network, options: redis.UniversalOptions{
		Addrs: []string{o.Addr}, DB: o.DB, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
		PoolSize: o.PoolSize, ClientName: o.ClientName, Protocol: o.Protocol,
	}}, nil
}

// parseSeveral reads what follows the scheme: user, hosts with commas, path, query.
// net/url refuses several ports in one authority, so the hosts are read apart.
func parseSeveral(m mode, encrypted bool, rest string) (endpoint, error) {
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	user, hosts := "", authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse("redis://" + user + "host" + tail)
	if err != nil || u.Fragment != "" {
		return endpoint{}, errURL
	}
	e := endpoint{mode: m}
	defaultPort := redisPort
	if m == sentinel {
		defaultPort = sentinelPort
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := withPort(host, defaultPort)
		if err != nil {
			return endpoint{}, err
		}
		e.options.Addrs = append(e.options.Addrs, addr)
	}
	e.options.Username = u.User.Username()
	e.options.Password, _ = u.User.Password()
	if encrypted {
		e.options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if m == cluster {
		if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return endpoint{}, errors.New("a Redis Cluster has no databases and no options: end the URL after the hosts")
		}
		return e, nil
	}
	return e, e.readSentinel(u)
}

// readSentinel reads /master or /master/database, and who logs in to the Sentinels.
func (e *endpoint) readSentinel(u *url.URL) error {
	master, database, named := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if master == "" {
		return errors.New("it names no master: redis+sentinel://host:26379,host:26379/master")
	}
	e.options.MasterName = master
	if named {
		n, err := strconv.Atoi(database)
		if err != nil || n < 0 {
			return errURL
		}
		e.options.DB = n
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errURL
	}
	for name, values := range query {
		switch name {
		case "sentinel_username":
			e.options.SentinelUsername = values[0]
		case "sentinel_password":
			e.options.SentinelPassword = values[0]
		default:
			return errors.New("of options it may have sentinel_username and sentinel_password")
		}
	}
	return nil
}

func withPort(host, port string) (string, error) {
	if host == "" || strings.ContainsAny(host, "@ ") {
		return "", errURL
	}
	if h, p, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(p, 10, 16); err != nil || h == "" {
			return "", errURL
		}
		return host, nil
	}
	host = strings.Trim(host, "[]")
	if strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", errURL
	}
	return net.JoinHostPort(host, port), nil
}

func (e *endpoint) addCertificates(a address.Address) error {
	if a.CA == nil && a.Cert == nil {
		return nil
	}
	if e.options.TLSConfig == nil {
		return errors.New("certificates are given, but the Redis URL asks for no TLS: begin it with rediss")
	}
	if a.CA != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(a.CA) {
			return errors.New("the file of Redis's authorities holds no PEM certificate")
		}
		e.options.TLSConfig.RootCAs = pool
	}
	if a.Cert != nil {
		pair, err := tls.X509KeyPair(a.Cert, a.Key)
		if err != nil {
			return fmt.Errorf("read the client certificate for Redis: %w", err)
		}
		e.options.TLSConfig.Certificates = []tls.Certificate{pair}
	}
	return nil
}

// open returns a client, which connects when it is first used.
func (e *endpoint) open() redis.UniversalClient {
	switch e.mode {
	case sentinel:
		return redis.NewFailoverClient(e.options.Failover())
	case cluster:
		return redis.NewClusterClient(e.options.Cluster())
	case single:
	}
	o := e.options.Simple()
	o.Network = e.network
	return redis.NewClient(o)
}
