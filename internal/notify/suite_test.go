package notify_test

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/coffer-vault/coffer/internal/configfile"
	"github.com/coffer-vault/coffer/internal/notify"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// receiver is another system that is told. It answers with what answer says, and with 200 when that is nil.
type receiver struct {
	*httptest.Server
	answer http.HandlerFunc

	mu       sync.Mutex
	requests []request
}

// request is one that came, with what is not of Go's client.
type request struct {
	Header http.Header
	Body   string
}

func receive(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		for _, name := range []string{"Accept-Encoding", "Content-Length", "Connection"} {
			req.Header.Del(name)
		}
		r.mu.Lock()
		r.requests = append(r.requests, request{req.Header, string(body)})
		r.mu.Unlock()
		if r.answer != nil {
			r.answer(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) came() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.requests...)
}

// ca is the authority of the receiver, as a field of a file.
func (r *receiver) ca() string {
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
	return "ca: |\n      " + strings.ReplaceAll(strings.TrimSpace(certificate), "\n", "\n      ")
}

// sink is a sink of the receiver, with further fields a line each.
func (r *receiver) sink(name, kind string, fields ...string) string {
	return "  - name: " + name + "\n    kind: " + kind + "\n    url: " + r.URL + "/in\n    " + strings.Join(append(fields, r.ca()), "\n    ") + "\n"
}

const head = "apiVersion: vault.coffer.dev/v1alpha1\nkind: NotificationConfiguration\nreach: {networks: [127.0.0.0/8]}\nsinks:\n"

// log is what is logged.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *log) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// open opens a configuration of sinks, with further files beside it.
func open(t *testing.T, said *log, sinks string, files map[string]string) *configfile.File[*notify.Config] {
	t.Helper()
	return openWith(t, said, head+sinks, files)
}

func openWith(t *testing.T, said *log, content string, files map[string]string) *configfile.File[*notify.Config] {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(folder, name), content)
	}
	file := filepath.Join(folder, "config.yaml")
	write(t, file, content)
	config, err := notify.Open(file, said.logger())
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a notifier until the test ends, or until what it returns is called.
func run(t *testing.T, n *notify.Notifier) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Start(ctx) }()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return end
}

// start makes a vault with a rotation of each path.
func start(t *testing.T, paths ...string) *vaulttest.Env {
	t.Helper()
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Notify: true})
	var definitions []rotation.Definition
	for _, p := range paths {
		env.Put(t, p, "c4nary-s3cret")
		definitions = append(definitions, rotation.Definition{
			Name: p, As: rotation.Identity{Namespace: "payments", ServiceAccount: "rotator"}, Spec: rotation.Spec{Path: p, Method: rotation.Method{Kind: "any"}},
		})
	}
	if _, err := env.Engine.ReplaceRotations(t.Context(), env.Admin.Cluster, definitions); err != nil {
		t.Fatal(err)
	}
	return env
}

// rotate begins the rotation of a path, which is told.
func rotate(t *testing.T, env *vaulttest.Env, e *vault.Engine, path string) {
	t.Helper()
	if _, err := e.RunRotation(t.Context(), env.Admin, vaulttest.Path(t, path), rotation.Request{}); err != nil {
		t.Fatal(err)
	}
}
