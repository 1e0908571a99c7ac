package sdk_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/sdk"
	"github.com/coffer-vault/coffer/sdk/coffertest"
)

// openPool is what the guide shows: each connection is made with the password of that
// moment.
func openPool(ctx context.Context, dsn string, cache *sdk.Cache, path string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.BeforeConnect = func(ctx context.Context, connection *pgx.ConnConfig) error {
		password, err := cache.Get(ctx, path)
		if err != nil {
			return err
		}
		defer clear(password.Value)
		connection.Password = password.Text()
		return nil
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// TestAPoolGoesOnWithARotatedPassword: connections that stand go on, and new ones have
// the new password, without a restart and without a login that fails.
func TestAPoolGoesOnWithARotatedPassword(t *testing.T) {
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
	pool, err := openPool(t.Context(), roles.Ordinary, cache, path) // the password in it is not good any more
	must(t, err)
	defer pool.Close()
	must(t, pool.Ping(t.Context()))

	rotate("battery staple")
	must(t, pool.Ping(t.Context())) // over the connection that stands
	testkit.Eventually(t, 10*time.Second, func() string {
		if found, err := cache.Get(t.Context(), path); err != nil || found.Version != 2 {
			return "the rotation has not come"
		}
		return ""
	})
	pool.Reset()
	must(t, pool.Ping(t.Context()))
	if got := pool.Stat().NewConnsCount(); got != 2 {
		t.Errorf("%d connections were made", got)
	}
}
