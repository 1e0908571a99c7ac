package testkit_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/mariadb"
)

func TestPostgresDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	one, two := connect(t, testkit.Postgres(t)), connect(t, testkit.Postgres(t))
	if _, err := one.Exec(t.Context(), "CREATE TABLE only_here (n int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Exec(t.Context(), "SELECT n FROM only_here"); err == nil {
		t.Error("the second database has the first one's table")
	}
}

func TestPostgresServerKeepsItsDataThroughStopAndKill(t *testing.T) {
	t.Parallel()
	server := testkit.PostgresServer(t)
	dsn, err := server.CreateDatabase(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, dsn).Exec(t.Context(), "CREATE TABLE kept AS SELECT 7 AS n"); err != nil {
		t.Fatal(err)
	}
	for _, down := range []struct {
		name string
		do   func() error
	}{
		{"stop", func() error { return server.Stop(t.Context()) }},
		{"kill", server.Kill},
	} {
		if err := down.do(); err != nil {
			t.Fatalf("%s: %v", down.name, err)
		}
		if err := server.Ping(t.Context()); err == nil {
			t.Errorf("after %s the server answers", down.name)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatalf("restart after %s: %v", down.name, err)
		}
		var n int
		if err := connect(t, dsn).QueryRow(t.Context(), "SELECT n FROM kept").Scan(&n); err != nil || n != 7 {
			t.Errorf("after %s: n = %d, %v; want 7", down.name, n, err)
		}
	}
}

func TestRedisServerLosesEverything(t *testing.T) {
	t.Parallel()
	server := testkit.RedisServer(t)
	opts, err := goredis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	for _, loss := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"flush", server.FlushAll},
		{"restart", server.Restart},
	} {
		if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Fatalf("before %s: %v", loss.name, err)
		}
		if err := loss.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", loss.name, err)
		}
		if n, err := client.Exists(t.Context(), "k").Result(); err != nil || n != 0 {
			t.Errorf("after %s the key exists (%d, %v)", loss.name, n, err)
		}
	}
}

func TestRedisWantsThePassword(t *testing.T) {
	t.Parallel()
	opts, err := goredis.ParseURL(testkit.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	opts.Password = ""
	client := goredis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("Redis answers without the password")
	}
}

func TestMariaDBWantsThePassword(t *testing.T) {
	t.Parallel()
	server := testkit.MariaDB(t)
	for _, password := range []string{"", "another", server.Password()} {
		db, err := server.Open(mariadb.Superuser, password)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.PingContext(t.Context()); (err == nil) != (password == server.Password()) {
			t.Errorf("a password of %d bytes: %v", len(password), err)
		}
		_ = db.Close()
	}
}

func TestKubeHasTheCRDs(t *testing.T) {
	t.Parallel()
	config := testkit.Kube(t, "testdata/crd")
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "testkit-"}}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := client.Discovery().ServerResourcesForGroupVersion("testkit.coffer.dev/v1"); err != nil {
		t.Errorf("the CRD of the directory is not served: %v", err)
	}
	if again := testkit.Kube(t, "testdata/crd"); again.Host != config.Host {
		t.Errorf("a second call started another server: %s and %s", again.Host, config.Host)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
