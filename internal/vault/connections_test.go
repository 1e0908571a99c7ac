package vault_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/address"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/redisconn"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// settles polls: what it waits for happens in other processes.
func settles(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for err := ok(); err != nil; err = ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		<-tick.C
	}
}

// writeSwapped replaces a file as a mounted Secret is: by another inode.
func writeSwapped(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func canWork(t *testing.T, env *vaulttest.Env, engine *vault.Engine) func() error {
	return func() error {
		_, err := engine.Read(t.Context(), env.Admin, ref(t, "a/b", 0))
		return err
	}
}

func openFiles(t *testing.T, env *vaulttest.Env, database, redis address.Files) *vault.Engine {
	t.Helper()
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
		DatabaseFiles: database, RedisFiles: redis, Root: env.Root, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeEngine)
	return engine
}

// TestDatabasePasswordAndHostChange: the role's password changes, then the database
// moves, while the engine works.
func TestDatabasePasswordAndHostChange(t *testing.T) {
	t.Parallel() // it mostly waits
	first := testkit.PostgresServer(t)
	env := vaulttest.StartWith(t, vaulttest.Config{DSN: first.DSN(), NoRedis: true})
	env.Put(t, "a/b", "v")
	if err := first.Exec(t.Context(), `CREATE ROLE app SUPERUSER LOGIN PASSWORD 'one'`); err != nil {
		t.Fatal(err)
	}
	files := address.Files{URL: filepath.Join(t.TempDir(), "url"), Password: filepath.Join(t.TempDir(), "password")}
	dsn := func(s *postgres.Server) string {
		return fmt.Sprintf("postgres://app@127.0.0.1:%d/postgres?sslmode=disable", s.Port())
	}
	writeSwapped(t, files.URL, dsn(first))
	writeSwapped(t, files.Password, "one\n")
	engine := openFiles(t, env, files, address.Files{})
	if err := canWork(t, env, engine)(); err != nil {
		t.Fatal(err)
	}

	if err := first.Exec(t.Context(), `ALTER ROLE app PASSWORD 'two'`); err != nil {
		t.Fatal(err)
	}
	writeSwapped(t, files.Password, "two\n")
	began := time.Now()
	// Connections that logged in with the old password go, though they would work on.
	settles(t, "old connections", func() error {
		if err := canWork(t, env, engine)(); err != nil {
			t.Fatalf("a read failed while the password changed: %v", err)
		}
		var old int
		err := connect(t, env).QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND backend_start < $1`, began).Scan(&old)
		if err == nil && old > 0 {
			err = fmt.Errorf("%d are left", old)
		}
		return err
	})

	moved := testkit.PostgresReplica(t, first)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := moved.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	writeSwapped(t, files.URL, dsn(moved))
	settles(t, "the new host", canWork(t, env, engine))
}

// TestPostgresFailover: acknowledged writes are on the replica that is promoted, and
// the engine finds it.
func TestPostgresFailover(t *testing.T) {
	t.Parallel() // it mostly waits
	primary := testkit.PostgresServer(t)
	standby := testkit.PostgresReplica(t, primary)
	for _, sql := range []string{`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`} {
		if err := primary.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	settles(t, "synchronous replication", func() error {
		return primary.Exec(t.Context(), `SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'`)
	})
	config, err := pgx.ParseConfig(primary.DSN())
	if err != nil {
		t.Fatal(err)
	}
	// The standby comes first: it must be passed over.
	dsn := fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", config.User, config.Password, standby.Port(), primary.Port())
	env := vaulttest.StartWith(t, vaulttest.Config{DSN: dsn, NoRedis: true})
	env.Put(t, "a/b", "before")
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	settles(t, "the engine on the new primary", canWork(t, env, env.Engine))
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "before")
	env.Put(t, "a/b", "after")
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "after")
}

// TestConnectionsToADemotedPrimaryAreDropped: a server that takes no writes any more
// costs the operations under way, and no more once it is back.
func TestConnectionsToADemotedPrimaryAreDropped(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "a/b", "v")
	exec(t, env, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$`)
	exec(t, env, `DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid(); END $$`)
	settles(t, "the read-only server to be noticed", func() error {
		if err := canWork(t, env, env.Engine)(); err == nil {
			return fmt.Errorf("it still works")
		}
		return nil
	})
	admin := connect(t, env)
	for _, sql := range []string{`SET default_transaction_read_only = off`, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET default_transaction_read_only', current_database()); END $$`} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	settles(t, "writes", canWork(t, env, env.Engine))
}

// entries counts the stream, on a connection of the test's own.
func entries(t *testing.T, url string) int64 {
	t.Helper()
	connection, err := redisconn.Open(address.Source{URL: url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	n, _ := connection.Client().XLen(t.Context(), changes.Stream).Result()
	return n
}

// announces puts until the stream has grown.
func announces(t *testing.T, env *vaulttest.Env, url string) func() error {
	return func() error {
		before := entries(t, url)
		env.Put(t, "a/b", "v")
		if after := entries(t, url); after <= before {
			return fmt.Errorf("the stream has %d entries, and had %d", after, before)
		}
		return nil
	}
}

// arrives is nil when a change is delivered much sooner than the poll would.
func arrives(t *testing.T, env *vaulttest.Env) func() error {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	heard := make(chan changes.Change, 1024)
	go func() {
		_ = env.Engine.Follow(ctx, func(_ context.Context, batch []changes.Change) error {
			for _, change := range batch {
				heard <- change
			}
			return nil
		})
	}()
	return func() error {
		written, begin := env.Put(t, "a/b", "v"), time.Now()
		for change := range heard {
			if change.Version == written.Version {
				break
			}
		}
		if took := time.Since(begin); took > time.Second {
			return fmt.Errorf("the change took %v", took)
		}
		return nil
	}
}

func TestRedisSentinelFailover(t *testing.T) {
	t.Parallel() // it mostly waits
	s := testkit.RedisSentinel(t)
	env := vaulttest.StartWith(t, vaulttest.Config{RedisURL: s.URL()})
	settles(t, "announcements", announces(t, env, s.Master.URL()))
	quick := arrives(t, env)
	settles(t, "quick delivery", quick)
	if err := s.Master.Kill(); err != nil {
		t.Fatal(err)
	}
	settles(t, "announcements on the promoted replica", announces(t, env, s.Replica.URL()))
	settles(t, "quick delivery after the failover", quick)
	wantRead(t, env.Engine, env.Admin, ref(t, "a/b", 0), "v")
}

func TestRedisCluster(t *testing.T) {
	c := testkit.RedisCluster(t)
	env := vaulttest.StartWith(t, vaulttest.Config{RedisURL: c.URL()})
	client, err := redis.ParseClusterURL(strings.Replace(c.Nodes[2].URL(), "/0", "", 1))
	if err != nil {
		t.Fatal(err)
	}
	subscriber := redis.NewClusterClient(client)
	t.Cleanup(func() { _ = subscriber.Close() })
	subscription := subscriber.Subscribe(t.Context(), changes.Channel)
	t.Cleanup(func() { _ = subscription.Close() })
	if _, err := subscription.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	settles(t, "announcements", announces(t, env, c.URL()))
	select {
	case <-subscription.Channel():
	case <-time.After(10 * time.Second):
		t.Error("no message on the channel")
	}
	settles(t, "quick delivery", arrives(t, env))
	for i := range 20 { // keys of all three nodes
		env.Put(t, fmt.Sprintf("many/%d", i), "v")
		wantRead(t, env.Engine, env.Admin, ref(t, fmt.Sprintf("many/%d", i), 0), "v")
	}
	for i, node := range c.Nodes {
		options, err := redis.ParseURL(node.URL())
		if err != nil {
			t.Fatal(err)
		}
		direct := redis.NewClient(options)
		keys, err := direct.Keys(t.Context(), "coffer:sealed:*").Result()
		_ = direct.Close()
		if err != nil || len(keys) == 0 {
			t.Errorf("node %d has %d boxes, %v", i, len(keys), err)
		}
	}
}

func TestRedisPasswordAndHostChange(t *testing.T) {
	t.Parallel() // it mostly waits
	first, second := testkit.RedisServer(t), testkit.RedisServer(t)
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	files := address.Files{URL: filepath.Join(t.TempDir(), "url"), Password: filepath.Join(t.TempDir(), "password")}
	database := address.Files{URL: filepath.Join(t.TempDir(), "url")}
	writeSwapped(t, database.URL, env.DSN)
	options, err := redis.ParseURL(first.URL())
	if err != nil {
		t.Fatal(err)
	}
	writeSwapped(t, files.URL, "redis://"+options.Addr+"/0")
	writeSwapped(t, files.Password, options.Password)
	env.Engine = openFiles(t, env, database, files)
	settles(t, "announcements", announces(t, env, first.URL()))
	quick := arrives(t, env)
	settles(t, "quick delivery", quick)

	if err := first.SetPassword(t.Context(), "another"); err != nil {
		t.Fatal(err)
	}
	writeSwapped(t, files.Password, "another")
	began := time.Now()
	settles(t, "no connection with the old password", func() error {
		if err := announces(t, env, first.URL())(); err != nil {
			return err
		}
		return youngClients(t, first.URL(), began)
	})
	settles(t, "quick delivery with the new password", quick)

	options, err = redis.ParseURL(second.URL())
	if err != nil {
		t.Fatal(err)
	}
	writeSwapped(t, files.Password, options.Password)
	writeSwapped(t, files.URL, "redis://"+options.Addr+"/0")
	settles(t, "announcements on the new host", announces(t, env, second.URL()))
	settles(t, "quick delivery from the new host", quick)
}

// youngClients is nil when no client of the server is older than since.
func youngClients(t *testing.T, url string, since time.Time) error {
	t.Helper()
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	list, err := client.ClientList(t.Context()).Result()
	if err != nil {
		return err
	}
	for line := range strings.Lines(list) {
		for field := range strings.FieldsSeq(line) {
			if age, ok := strings.CutPrefix(field, "age="); ok {
				seconds, err := time.ParseDuration(age + "s")
				if err != nil || seconds > time.Since(since)+time.Second {
					return fmt.Errorf("a client is %s s old", age)
				}
			}
		}
	}
	return nil
}
