package sdk_test

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/sdk"
	"github.com/coffer-vault/coffer/sdk/coffertest"
)

// beforeConnect puts the password into what a connection is made with.
type beforeConnect func(context.Context, *pgx.ConnConfig) error

// openPool is what the guide shows: each connection is made with the password of that
// moment.
func openPool(ctx context.Context, dsn string, password beforeConnect) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.BeforeConnect = password
	return pgxpool.NewWithConfig(ctx, config)
}

// openDB is the same for database/sql.
func openDB(dsn string, password beforeConnect) (*sql.DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	return stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(password)), nil
}

// pool is what the test needs of one.
type pool struct {
	ping  func(context.Context) error
	reset func() // closes the connections that stand
	made  func() int64
}

func pgxPool(t *testing.T, dsn string, password beforeConnect) pool {
	t.Helper()
	opened, err := openPool(t.Context(), dsn, password)
	must(t, err)
	t.Cleanup(opened.Close)
	return pool{ping: opened.Ping, reset: opened.Reset, made: func() int64 { return opened.Stat().NewConnsCount() }}
}

func sqlPool(t *testing.T, dsn string, password beforeConnect) pool {
	t.Helper()
	var made atomic.Int64
	opened, err := openDB(dsn, func(ctx context.Context, connection *pgx.ConnConfig) error {
		made.Add(1)
		return password(ctx, connection)
	})
	must(t, err)
	t.Cleanup(func() { _ = opened.Close() })
	return pool{ping: opened.PingContext, made: made.Load, reset: func() {
		opened.SetMaxIdleConns(-1)
		opened.SetMaxIdleConns(1)
	}}
}

// TestAPoolGoesOnWithARotatedPassword: connections that stand go on, and new ones have
// the new password, without a restart and without a login that fails.
func TestAPoolGoesOnWithARotatedPassword(t *testing.T) {
	for name, open := range map[string]func(*testing.T, string, beforeConnect) pool{"pgxpool": pgxPool, "database/sql": sqlPool} {
		t.Run(name, func(t *testing.T) { goesOnWithARotatedPassword(t, open) })
	}
}

func goesOnWithARotatedPassword(t *testing.T, open func(*testing.T, string, beforeConnect) pool) {
	const path = "production/payments/database"
	roles := testkit.PostgresRoles(t)
	superuser, err := pgx.Connect(t.Context(), roles.Superuser)
	must(t, err)
	t.Cleanup(func() { _ = superuser.Close(context.Background()) })
	server := coffertest.NewServer(t)
	rotate := func(password string) {
		t.Helper()
		_, err := superuser.Exec(t.Context(), "ALTER ROLE "+pgx.Identifier{roles.OrdinaryName}.Sanitize()+" PASSWORD '"+password+"'")
		must(t, err)
		server.Put(path, password)
	}
	rotate("correct horse")

	cache := sdk.NewCache(server.Client(t), sdk.CacheConfig{Paths: []string{path}, MaxAge: time.Hour})
	defer cache.Close()
	pool := open(t, roles.Ordinary, func(ctx context.Context, connection *pgx.ConnConfig) error { // the password in it is not good any more
		password, err := cache.Get(ctx, path)
		if err != nil {
			return err
		}
		defer clear(password.Value)
		connection.Password = password.Text()
		return nil
	})
	must(t, pool.ping(t.Context()))

	rotate("battery staple")
	must(t, pool.ping(t.Context())) // over the connection that stands
	testkit.Eventually(t, 10*time.Second, func() string {
		if found, err := cache.Get(t.Context(), path); err != nil || found.Version != 2 {
			return "the rotation has not come"
		}
		return ""
	})
	pool.reset()
	must(t, pool.ping(t.Context()))
	if got := pool.made(); got != 2 {
		t.Errorf("%d connections were made", got)
	}
}
