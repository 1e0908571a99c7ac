package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/internal/testkit/redis"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

const (
	cluster   = "bench"
	path      = "production/payments/database"
	valueSize = 1 << 10
)

// environment is a vault on servers of its own, behind the API.
type environment struct {
	dir       string
	profiles  string // where profiles go, if anywhere
	postgres  *postgres.Server
	dsn       string
	redisURL  string
	root      keyring.Root
	engine    *vault.Engine
	api       *httptest.Server
	limited   *httptest.Server // api with the usual rate limit
	elsewhere *httptest.Server // another vault, once it is asked for
	logger    *slog.Logger
	value     []byte
	closers   []func() error
}

func newEnvironment(ctx context.Context, profiles string) (_ *environment, err error) {
	e := &environment{value: make([]byte, valueSize), profiles: profiles}
	_, _ = rand.Read(e.value)
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.dir, err = os.MkdirTemp("", "coffer-bench-"); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, func() error { return os.RemoveAll(e.dir) })
	if err := e.startServers(ctx); err != nil {
		return nil, err
	}
	if e.root, err = newRoot(e.dir); err != nil {
		return nil, err
	}
	if e.engine, err = e.open(ctx, e.dsn, e.redisURL, 64<<20); err != nil {
		return nil, err
	}
	if err := allow(ctx, e.engine); err != nil {
		return nil, err
	}
	if err := e.put(ctx, e.engine, path); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	e.closers = append(e.closers, log.Close)
	e.logger = slog.New(slog.NewJSONHandler(log, nil))
	e.api = e.serveEngine(e.engine, server.Config{Rate: rate.Inf, Burst: 1})
	e.limited = e.serveEngine(e.engine, server.Config{})
	return e, nil
}

// serveEngine serves the API of an engine, with the limits of c.
func (e *environment) serveEngine(engine *vault.Engine, c server.Config) *httptest.Server {
	c.Vault, c.Authenticator, c.Logger, c.Registerer = engine, byToken{}, e.logger, prometheus.NewRegistry()
	api := serve(server.New(c))
	e.closers = append(e.closers, func() error { api.Close(); return nil })
	return api
}

// another serves a vault of its own on the same servers; there is one.
func (e *environment) another(ctx context.Context) (*httptest.Server, error) {
	if e.elsewhere != nil {
		return e.elsewhere, nil
	}
	dsn, err := e.postgres.CreateDatabase(ctx, "elsewhere")
	if err != nil {
		return nil, err
	}
	engine, err := e.open(ctx, dsn, "", 64<<20)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(allow(ctx, engine), e.put(ctx, engine, path)); err != nil {
		return nil, err
	}
	e.elsewhere = e.serveEngine(engine, server.Config{Rate: rate.Inf, Burst: 1})
	return e.elsewhere, nil
}

func (e *environment) startServers(ctx context.Context) (err error) {
	if e.postgres, err = postgres.Start(ctx, postgres.Options{Durable: true}); err != nil {
		return err
	}
	e.closers = append(e.closers, e.postgres.Close)
	if e.dsn, err = e.postgres.CreateDatabase(ctx, "bench"); err != nil {
		return err
	}
	if e.profiles != "" {
		if err := e.traceStatements(ctx); err != nil {
			return err
		}
	}
	cache, err := redis.Start(ctx)
	if err != nil {
		return err
	}
	e.redisURL = cache.URL()
	e.closers = append(e.closers, cache.Close)
	return nil
}

// open returns an engine on the vault in a database, which ends with the environment.
func (e *environment) open(ctx context.Context, dsn, redisURL string, cacheBytes uint64) (*vault.Engine, error) {
	engine, _, closeEngine, err := e.openMetered(ctx, dsn, redisURL, cacheBytes)
	if err == nil {
		e.closers = append(e.closers, func() error { closeEngine(); return nil })
	}
	return engine, err
}

// openMetered returns an engine, its metrics, and what closes it: each holds connections.
func (e *environment) openMetered(ctx context.Context, dsn, redisURL string, cacheBytes uint64) (*vault.Engine, *prometheus.Registry, func(), error) {
	registry := prometheus.NewRegistry()
	engine, closeEngine, err := vault.Open(ctx, vault.Options{
		DatabaseURL: dsn, RedisURL: redisURL, Root: e.root, CacheBytes: cacheBytes,
		Logger: slog.New(slog.DiscardHandler), Registerer: registry,
	})
	return engine, registry, closeEngine, err
}

// openOn returns an engine with the root and the caches of its own, and what closes it.
func openOn(ctx context.Context, root keyring.Root, dsn, redisURL string) (*vault.Engine, func(), error) {
	return vault.Open(ctx, vault.Options{
		DatabaseURL: dsn, RedisURL: redisURL, Root: root, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
}

func (e *environment) close() error {
	var errs []error
	for _, closeOne := range slices.Backward(e.closers) {
		errs = append(errs, closeOne())
	}
	return errors.Join(errs...)
}

// allow lets every caller of the benchmark do everything, to the keyring too.
func allow(ctx context.Context, engine *vault.Engine) error {
	var everywhere []policy.Pattern
	for _, pattern := range []string{"**", "sys/**"} {
		parsed, err := policy.ParsePattern(pattern)
		if err != nil {
			return err
		}
		everywhere = append(everywhere, parsed)
	}
	named, err := policy.New("bench", []policy.Rule{{
		Effect: policy.Allow, Paths: everywhere, Capabilities: policy.Capabilities(),
		Subjects: policy.Subjects{Users: []string{"storm", "neighbour"}},
	}})
	if err != nil {
		return err
	}
	_, err = engine.ReplacePolicies(ctx, cluster, []policy.Policy{named})
	return err
}

// put writes a version of a path.
func (e *environment) put(ctx context.Context, engine *vault.Engine, path string) error {
	parsed, err := secret.ParsePath(path)
	if err != nil {
		return err
	}
	value, err := secret.NewValue(e.value)
	if err != nil {
		return err
	}
	_, err = engine.Put(ctx, user("storm"), secret.PutRequest{Path: parsed, Value: value})
	return err
}

func user(name string) secret.Caller {
	return secret.Caller{Kind: secret.KindUser, Cluster: cluster, Name: name, Address: "127.0.0.1"}
}

// byToken takes a token for its user's name. The real authenticator answers from a
// cache as well, once a token was reviewed.
type byToken struct{}

// Authenticate implements server.Authenticator.
func (byToken) Authenticate(_ context.Context, token string) (secret.Caller, error) {
	if token == "" {
		return secret.Caller{}, authn.ErrUnauthenticated
	}
	return user(token), nil
}

// ServiceAccountUID implements server.Authenticator.
func (byToken) ServiceAccountUID(context.Context, string, string) (string, error) { return "", nil }

// Known implements server.Authenticator.
func (byToken) Known(string) bool { return true }

// Environment implements server.Authenticator.
func (byToken) Environment(context.Context, string) (string, error) { return "", nil }

// serve serves handler over TLS and HTTP/1.1, so that a connection carries one request
// at a time.
func serve(handler http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = false
	s.StartTLS()
	return s
}

func newRoot(dir string) (keyring.Root, error) {
	var key [32]byte
	_, _ = rand.Read(key[:])
	file := filepath.Join(dir, "root-key")
	if err := os.WriteFile(file, []byte("current: "+base64.StdEncoding.EncodeToString(key[:])+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write a root key: %w", err)
	}
	return keyring.KeyFileRoot(file)
}
