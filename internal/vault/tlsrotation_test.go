package vault_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/authority"
	"github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/address"
	"github.com/coffer-vault/coffer/internal/vault/redisconn"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// tlsFiles are those of a server that asks for a certificate and a password.
func tlsFiles(t *testing.T, url, password string, ca []byte, client authority.Pair) address.Files {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	files := address.Files{URL: file("url"), Password: file("password"), CA: file("ca.crt"), Cert: file("tls.crt"), Key: file("tls.key")}
	for name, content := range map[string]string{
		files.URL: url, files.Password: password, files.CA: string(ca), files.Cert: string(client.Cert), files.Key: string(client.Key),
	} {
		writeSwapped(t, name, content)
	}
	return files
}

// busy reads and writes without a pause, until the returned function ends it; then
// every operation must have succeeded, and there were many.
func busy(t *testing.T, env *vaulttest.Env, engine *vault.Engine, turn *sync.RWMutex) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	var done atomic.Int64
	read := ref(t, "a/b", 0)
	write := secret.PutRequest{Path: vaulttest.Path(t, "a/written"), Value: vaulttest.Value(t, "v")}
	go func() {
		defer close(ended)
		for ; ctx.Err() == nil; done.Add(1) {
			turn.RLock()
			_, readErr := engine.Read(t.Context(), env.Admin, read)
			_, writeErr := engine.Put(t.Context(), env.Admin, write)
			turn.RUnlock()
			if err := errors.Join(readErr, writeErr); err != nil {
				t.Errorf("after %d rounds: %v", done.Load(), err)
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		at := done.Load()
		settles(t, "work after the change", func() error {
			if t.Failed() || done.Load() >= at+20 {
				return nil
			}
			return fmt.Errorf("%d rounds since the last change", done.Load()-at)
		})
		cancel()
		<-ended
		t.Logf("%d reads and as many writes meanwhile", done.Load())
	})
}

// TestDatabaseTLSRotation replaces, one after the other while the engine works, the
// server's certificate and its authority, the client's certificate and its authority, and
// the password. No operation fails, and nothing is restarted.
func TestDatabaseTLSRotation(t *testing.T) {
	server := testkit.PostgresServer(t)
	env := vaulttest.StartWith(t, vaulttest.Config{DSN: server.DSN(), NoRedis: true})
	env.Put(t, "a/b", "v")
	if err := server.Exec(t.Context(), `CREATE ROLE app SUPERUSER LOGIN PASSWORD 'one'`); err != nil {
		t.Fatal(err)
	}
	before, after := authority.New(t, "before"), authority.New(t, "after")
	both := slices.Concat(before.PEM, after.PEM)
	serve := func(shows authority.Pair, believes []byte) {
		t.Helper()
		if err := server.ServeTLS(t.Context(), postgres.TLS{Cert: shows.Cert, Key: shows.Key, ClientCA: believes, Role: "app"}); err != nil {
			t.Fatal(err)
		}
	}
	firstServer, firstClient := before.Server(t), before.Client(t, "app")
	serve(firstServer, before.PEM)
	url := fmt.Sprintf("postgres://app@127.0.0.1:%d/postgres", server.Port())
	files := tlsFiles(t, url, "one", before.PEM, firstClient)
	settles(t, "the server to speak TLS", func() error { return dials(t, files) })
	engine := openFiles(t, env, files, address.Files{})
	if err := sessions(t, env, "before", time.Time{}); err != nil {
		t.Fatal(err)
	}

	var turn sync.RWMutex
	end := busy(t, env, engine, &turn)
	defer end()
	// Both sides believe both authorities, then show the new certificates.
	serve(firstServer, both)
	writeSwapped(t, files.CA, string(both))
	serve(after.Server(t), both)
	client := after.Client(t, "app")
	writeSwapped(t, files.Cert, string(client.Cert)) // for a moment without its key
	writeSwapped(t, files.Key, string(client.Key))
	settles(t, "the new client certificate", func() error { return sessions(t, env, "after", time.Time{}) })

	// Postgres has one password a role: the only moment that needs care.
	turn.Lock()
	if err := server.Exec(t.Context(), `ALTER ROLE app PASSWORD 'two'`); err != nil {
		t.Fatal(err)
	}
	writeSwapped(t, files.Password, "two")
	turn.Unlock()
	// Nobody believes the former authority any more.
	serve(after.Server(t), after.PEM)
	writeSwapped(t, files.CA, string(after.PEM))
	changed := time.Now()
	settles(t, "sessions as the files say now", func() error { return sessions(t, env, "after", changed) })
	end()

	for _, mode := range []string{"verify-full", "verify-ca", "require"} {
		asked := url + "?sslmode=" + mode
		if err := dials(t, tlsFiles(t, asked, "two", after.PEM, client)); err != nil {
			t.Errorf("sslmode=%s: %v", mode, err)
		}
		if dials(t, tlsFiles(t, asked, "two", before.PEM, client)) == nil {
			t.Errorf("sslmode=%s believes a server of another authority", mode)
		}
	}
	for name, stale := range map[string]address.Files{
		"former certificate": tlsFiles(t, url, "two", after.PEM, firstClient),
		"former authority":   tlsFiles(t, url, "two", before.PEM, client),
		"former password":    tlsFiles(t, url, "one", after.PEM, client),
	} {
		if dials(t, stale) == nil {
			t.Errorf("with the %s one can still connect", name)
		}
	}

	// A file that cannot be used leaves the last one in force, also for new sessions.
	writeSwapped(t, files.CA, "no certificate")
	writeSwapped(t, files.Key, "no key")
	broken := time.Now()
	exec(t, env, `DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'; END $$`)
	settles(t, "work with the certificates that were good", canWork(t, env, engine))
	settles(t, "new sessions", func() error { return sessions(t, env, "after", broken) })
}

// dials reports whether one can connect as the files say.
func dials(t *testing.T, files address.Files) error {
	t.Helper()
	db, err := store.OpenSource(t.Context(), address.Source{Files: files}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return db.Ping(t.Context())
}

// sessions is nil when there are sessions of the role app, and all have shown a
// certificate of the authority and are younger than since.
func sessions(t *testing.T, env *vaulttest.Env, issuer string, since time.Time) error {
	t.Helper()
	rows, err := connect(t, env).Query(t.Context(),
		`SELECT coalesce(s.issuer_dn, ''), a.backend_start FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.usename = 'app'`)
	if err != nil {
		t.Fatal(err)
	}
	type session struct {
		Issuer string
		Start  time.Time
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[session])
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Issuer != "/CN="+issuer || s.Start.Before(since) {
			return fmt.Errorf("a session of %v has a certificate of %q", s.Start, s.Issuer)
		}
	}
	if len(all) == 0 {
		return errors.New("no sessions")
	}
	return nil
}

// TestRedisTLSRotation does the same to Redis. Announcements arrive before and after,
// and the engine's reads and writes never fail.
func TestRedisTLSRotation(t *testing.T) {
	server := testkit.RedisServer(t)
	plain, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	before, after := authority.New(t, "before"), authority.New(t, "after")
	both := slices.Concat(before.PEM, after.PEM)
	port := 0
	serve := func(shows authority.Pair, believes []byte) {
		t.Helper()
		if port, err = server.ServeTLS(t.Context(), shows.Cert, shows.Key, believes); err != nil {
			t.Fatal(err)
		}
	}
	firstServer, firstClient := before.Server(t), before.Client(t, "coffer")
	serve(firstServer, before.PEM)
	url := fmt.Sprintf("rediss://127.0.0.1:%d/0", port)
	files := tlsFiles(t, url, plain.Password, before.PEM, firstClient)
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	database := address.Files{URL: filepath.Join(t.TempDir(), "url")}
	writeSwapped(t, database.URL, env.DSN)
	env.Put(t, "a/b", "v")
	env.Engine = openFiles(t, env, database, files)
	settles(t, "announcements", announces(t, env, server.URL()))
	quick := arrives(t, env)
	settles(t, "quick delivery", quick)

	end := busy(t, env, env.Engine, &sync.RWMutex{})
	defer end()
	renewed := func(what string) {
		t.Helper()
		former := clients(t, server.URL())
		settles(t, what, func() error {
			if err := announces(t, env, server.URL())(); err != nil {
				return err
			}
			for id := range clients(t, server.URL()) {
				if former[id] {
					return errors.New("a former connection is still there")
				}
			}
			return nil
		})
	}
	serve(firstServer, both)
	writeSwapped(t, files.CA, string(both))
	serve(after.Server(t), both)
	client := after.Client(t, "coffer")
	writeSwapped(t, files.Cert, string(client.Cert))
	writeSwapped(t, files.Key, string(client.Key))
	renewed("connections with the new client certificate")
	if err := server.SetPassword(t.Context(), "another"); err != nil {
		t.Fatal(err)
	}
	writeSwapped(t, files.Password, "another")
	serve(after.Server(t), after.PEM)
	writeSwapped(t, files.CA, string(after.PEM))
	renewed("connections as the files say now")
	settles(t, "quick delivery after all of it", quick)
	end()

	for name, stale := range map[string]address.Files{
		"former certificate": tlsFiles(t, url, "another", after.PEM, firstClient),
		"former authority":   tlsFiles(t, url, "another", before.PEM, client),
		"former password":    tlsFiles(t, url, plain.Password, after.PEM, client),
	} {
		connection, err := redisconn.Open(address.Source{Files: stale}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if connection.Client().Ping(t.Context()).Err() == nil {
			t.Errorf("with the %s one can still connect", name)
		}
		connection.Close()
	}
}

// clients are the ids of the server's connections, but for that of this question.
func clients(t *testing.T, url string) map[string]bool {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	list, err := client.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for line := range strings.Lines(list) {
		if id, rest, _ := strings.Cut(line, " "); !strings.Contains(rest, "cmd=client|list") {
			ids[id] = true
		}
	}
	return ids
}
