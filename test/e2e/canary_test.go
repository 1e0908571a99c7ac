//go:build e2e

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// TestCanaryIsNowhereElse takes values through all that happens to a secret -
// write, read, sync, rotation, refusal, a failing template - and then searches
// every place but the Secrets themselves.
func TestCanaryIsNowhereElse(t *testing.T) {
	e := newEnvironment(t)
	values := []string{randomValue(), randomValue()}
	e.useCanaries(t, values)

	var needles []string
	for _, value := range values {
		needles = append(needles, spellings(value)...)
	}
	search := func(place, content string) {
		for _, needle := range needles {
			if strings.Contains(content, needle) {
				// Which spelling says where to look; the value is not printed.
				t.Errorf("%s holds a secret value (%d characters of it)", place, len(needle))
			}
		}
	}
	t.Run("the search itself finds a canary", func(t *testing.T) {
		for _, prefix := range []string{"", "a", "ab"} {
			encoded := base64.StdEncoding.EncodeToString([]byte(prefix + values[0] + "tail"))
			if !containsAny(encoded, needles) {
				t.Errorf("base64 behind a prefix of %d bytes is not found", len(prefix))
			}
		}
	})
	e.searchObjects(t, search)
	e.searchLogsAndMetrics(t, search)
	searchRedis(t, search)
	searchPostgres(t, search)
	searchFiles(t, search)
}

func (e *environment) useCanaries(t *testing.T, values []string) {
	t.Helper()
	path := e.path("canary")
	e.put(t, path, values[0])
	e.vaultSecret(t, e.namespace, "canary", path)
	e.waitForValue(t, "canary", values[0])
	coffer(t, values[1], "rotate", path)
	e.waitForValue(t, "canary", values[1])
	if coffer(t, "", "get", path, "-o", "raw") != values[1] {
		t.Error("coffer get does not give back what was rotated in")
	}
	if _, err := tryCoffer(t.Context(), values[0], "put", path, "--expect-version", "1"); err == nil {
		t.Error("a write that expects an old version was accepted")
	}
	intruder := e.addNamespace(t, "production")
	e.vaultSecret(t, intruder, "stolen", path)

	broken := vaultSecretObject(e.namespace, "broken", path)
	broken.Spec.Target.Template = map[string]string{"out": "{{ .value }}{{ .missing }}"}
	must(t, e.client.Create(t.Context(), broken))
	for _, object := range []*vaultv1alpha1.VaultSecret{broken, vaultSecretObject(intruder, "stolen", path)} {
		eventually(t, object.Name+" to be refused", func(ctx context.Context) (bool, error) {
			err := e.client.Get(ctx, client.ObjectKeyFromObject(object), object)
			return err == nil && len(object.Status.Conditions) > 0, err
		})
	}
}

// spellings are the ways a value could stand in other text: raw, hexadecimal, and
// base64 at each of the three alignments, without the characters at either end
// that depend on the neighbours.
func spellings(value string) []string {
	all := []string{value, hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value)))}
	for shift := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), value...))
		inner := encoded[4 : len(encoded)-4]
		all = append(all, inner, strings.NewReplacer("+", "-", "/", "_").Replace(inner))
	}
	return all
}

func containsAny(content string, needles []string) bool {
	for _, needle := range needles {
		if strings.Contains(content, needle) {
			return true
		}
	}
	return false
}

type searcher func(place, content string)

// searchObjects looks through every object of the cluster, of every kind that can
// be listed, but the Secrets.
func (e *environment) searchObjects(t *testing.T, search searcher) {
	t.Helper()
	lists, err := discovery.ServerPreferredResources(e.clientset.Discovery())
	must(t, err)
	kinds := 0
	for _, list := range lists {
		for _, resource := range list.APIResources {
			if !strings.Contains(fmt.Sprint(resource.Verbs), "list") || list.GroupVersion == "v1" && resource.Name == "secrets" {
				continue
			}
			prefix := "/apis/"
			if list.GroupVersion == "v1" {
				prefix = "/api/"
			}
			content, err := e.clientset.Discovery().RESTClient().Get().AbsPath(prefix + list.GroupVersion + "/" + resource.Name).DoRaw(t.Context())
			if err != nil {
				continue // kinds whose list is not served
			}
			kinds++
			search(resource.Name, string(content))
		}
	}
	if kinds < 10 {
		t.Errorf("only %d kinds of objects were searched", kinds)
	}
}

func (e *environment) searchLogsAndMetrics(t *testing.T, search searcher) {
	t.Helper()
	for _, pod := range e.managers(t) {
		for _, previous := range []bool{false, true} {
			logs, err := e.clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Previous: previous}).DoRaw(t.Context())
			if err != nil && !previous {
				t.Fatal(err)
			}
			search("the log of pod "+pod.Name, string(logs))
		}
		metrics, err := e.clientset.CoreV1().Pods(pod.Namespace).ProxyGet("http", pod.Name, "8080", "/metrics", nil).DoRaw(t.Context())
		must(t, err)
		if !strings.Contains(string(metrics), "coffer_") {
			t.Errorf("pod %s serves none of coffer's metrics", pod.Name)
		}
		search("the metrics of pod "+pod.Name, string(metrics))
	}
}

func searchRedis(t *testing.T, search searcher) {
	t.Helper()
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	must(t, err)
	connection := redis.NewClient(options)
	defer func() { _ = connection.Close() }()
	keys, err := connection.Keys(t.Context(), "*").Result()
	must(t, err)
	if len(keys) == 0 {
		t.Error("Redis holds no key: nothing was searched")
	}
	for _, key := range keys {
		content, err := connection.Dump(t.Context(), key).Result()
		must(t, err)
		search("the Redis key "+key, key+content)
		if kind := connection.Type(t.Context(), key).Val(); kind == "stream" {
			entries, err := connection.XRange(t.Context(), key, "-", "+").Result()
			must(t, err)
			search("the Redis stream "+key, fmt.Sprint(entries))
		}
	}
}

// searchPostgres reads every column of every table as text, in which bytea is
// hexadecimal.
func searchPostgres(t *testing.T, search searcher) {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), os.Getenv("DATABASE_URL"))
	must(t, err)
	defer func() { _ = connection.Close(context.Background()) }()
	rows, err := connection.Query(t.Context(), `SELECT quote_ident(table_schema) || '.' || quote_ident(table_name)
		FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`)
	must(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	searched := 0
	for _, table := range tables {
		rows, err := connection.Query(t.Context(), "SELECT t::text FROM "+table+" t")
		must(t, err)
		contents, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		searched += len(contents)
		for _, content := range contents {
			search("the Postgres table "+table, content)
		}
	}
	if searched == 0 {
		t.Error("Postgres holds no row: nothing was searched")
	}
}

// searchFiles looks through the logs of the environment's own processes: the
// control plane, the kubelet, Postgres, Redis.
func searchFiles(t *testing.T, search searcher) {
	t.Helper()
	root := filepath.Join("..", "..", ".local")
	logs := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".log" {
			return nil //nolint:nilerr // folders of running containers come and go
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // as above
		}
		logs++
		search("the file "+filepath.Base(path), string(content))
		return nil
	})
	must(t, err)
	if logs == 0 {
		t.Errorf("no log file in %s was searched", root)
	}
}
