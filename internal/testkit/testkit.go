package testkit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/coffer-vault/coffer/internal/testkit/faultproxy"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/internal/testkit/mariadb"
	"github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/internal/testkit/redis"
)

// sharedPostgres is the server all databases of this test process live on. Nobody closes it: it goes with the process.
var sharedPostgres = sync.OnceValues(func() (*postgres.Server, error) {
	return postgres.Start(context.Background(), postgres.Options{})
})

// databases counts the databases made, to name them.
var databases atomic.Int64

// Postgres returns the address, as superuser, of an empty database of the test's own. Its server is shared by the
// tests of the process: a test that stops the server wants PostgresServer.
func Postgres(t testing.TB) string {
	t.Helper()
	_, _, dsn := database(t)
	return dsn
}

func database(t testing.TB) (server *postgres.Server, name, dsn string) {
	t.Helper()
	server, err := sharedPostgres()
	if err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	name = fmt.Sprintf("test_%d", databases.Add(1))
	if dsn, err = server.CreateDatabase(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.DropDatabase(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return server, name, dsn
}

// Roles are the addresses of one database for three roles.
type Roles struct {
	// Superuser may do everything. Owner owns the database. Ordinary may log in, and has no rights yet.
	Superuser, Owner, Ordinary string
	// OwnerName and OrdinaryName are the names of the two roles.
	OwnerName, OrdinaryName string
}

// PostgresRoles is Postgres with two roles of the test's own beside the superuser.
func PostgresRoles(t testing.TB) Roles {
	t.Helper()
	server, name, dsn := database(t)
	roles := Roles{Superuser: dsn, OwnerName: name + "_owner", OrdinaryName: name + "_app"}
	for role, address := range map[string]*string{roles.OwnerName: &roles.Owner, roles.OrdinaryName: &roles.Ordinary} {
		var err error
		if *address, err = server.CreateRole(t.Context(), role, dsn); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.GiveDatabase(t.Context(), name, roles.OwnerName); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the database first: it holds what they own
		err := server.DropDatabase(context.Background(), name)
		err = errors.Join(err, server.DropRole(context.Background(), roles.OwnerName), server.DropRole(context.Background(), roles.OrdinaryName))
		if err != nil {
			t.Error(err)
		}
	})
	return roles
}

// PostgresServer returns a PostgreSQL of the test's own, to stop, kill and restart.
func PostgresServer(t testing.TB) *postgres.Server {
	t.Helper()
	server, err := postgres.Start(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	closeAfter(t, server.Close)
	return server
}

// Redis returns the address of an empty Redis of the test's own. It is a server, not a logical database of a shared
// one, because Redis shares its channels between logical databases.
func Redis(t testing.TB) string {
	t.Helper()
	return RedisServer(t).URL()
}

// RedisServer returns a Redis of the test's own, to stop, kill, flush and restart.
func RedisServer(t testing.TB) *redis.Server {
	t.Helper()
	server, err := redis.Start(t.Context())
	if err != nil {
		t.Fatalf("starting Redis: %v", err)
	}
	closeAfter(t, server.Close)
	return server
}

// PostgresReplica returns a standby that streams from primary, to promote.
func PostgresReplica(t testing.TB, primary *postgres.Server) *postgres.Server {
	t.Helper()
	server, err := postgres.StartReplica(t.Context(), primary)
	if err != nil {
		t.Fatalf("starting a replica of PostgreSQL: %v", err)
	}
	closeAfter(t, server.Close)
	return server
}

// RedisSentinel returns a master, its replica and a Sentinel that watches them.
func RedisSentinel(t testing.TB) *redis.Sentinel {
	t.Helper()
	s, err := redis.StartSentinel(t.Context())
	if err != nil {
		t.Fatalf("starting Redis with a Sentinel: %v", err)
	}
	closeAfter(t, s.Close)
	return s
}

// RedisCluster returns a Redis Cluster of three masters.
func RedisCluster(t testing.TB) *redis.Cluster {
	t.Helper()
	c, err := redis.StartCluster(t.Context())
	if err != nil {
		t.Fatalf("starting a Redis Cluster: %v", err)
	}
	closeAfter(t, c.Close)
	return c
}

// sharedMariaDB is the server of all tests of this process that want one. Nobody closes it: it goes with the process.
var sharedMariaDB = sync.OnceValues(func() (*mariadb.Server, error) {
	return mariadb.Start(context.Background(), mariadb.Options{})
})

// MariaDB returns a server that the tests of the process share: they keep apart by the names of their accounts and
// databases.
func MariaDB(t testing.TB) *mariadb.Server {
	t.Helper()
	server, err := sharedMariaDB()
	if err != nil {
		t.Fatalf("starting MariaDB: %v", err)
	}
	return server
}

// Proxy puts a fault proxy before the server of a URL, and returns it and the URL that leads through it.
func Proxy(t testing.TB, serverURL string) (proxy *faultproxy.Proxy, through string) {
	t.Helper()
	proxy, through, err := faultproxy.ListenFor(serverURL)
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, proxy.Close)
	return proxy, through
}

// controlPlanes has a kube-apiserver for each CRD directory asked for, shared by the tests of the process.
var controlPlanes struct {
	sync.Mutex
	byDir map[string]*kube.Server
}

// Kube returns access, as administrator, to a kube-apiserver that has the CRDs of crdDir. The tests of the process
// that name the same directory share one: they keep apart by namespaces. A test that needs its own, and a TestMain,
// use package kube.
func Kube(t testing.TB, crdDir string) *rest.Config {
	t.Helper()
	controlPlanes.Lock()
	defer controlPlanes.Unlock()
	if server, ok := controlPlanes.byDir[crdDir]; ok {
		return rest.CopyConfig(server.Config())
	}
	server, err := kube.Start(crdDir)
	if err != nil {
		t.Fatalf("starting a kube-apiserver: %v", err)
	}
	if controlPlanes.byDir == nil {
		controlPlanes.byDir = map[string]*kube.Server{}
	}
	controlPlanes.byDir[crdDir] = server
	return rest.CopyConfig(server.Config())
}

func closeAfter(t testing.TB, closeServer func() error) {
	t.Cleanup(func() {
		if err := closeServer(); err != nil {
			t.Error(err)
		}
	})
}
