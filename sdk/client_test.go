package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/sdk"
)

// The client against the real server is tested with the command line
// (internal/cli): here servers misbehave on purpose.

func serve(t *testing.T, handler http.HandlerFunc) *sdk.Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return newClient(t, sdk.Config{Address: s.URL, Token: "token"})
}

func newClient(t *testing.T, c sdk.Config) *sdk.Client {
	t.Helper()
	client, err := sdk.New(c)
	must(t, err)
	return client
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// problem answers as the server does.
func problem(w http.ResponseWriter, status int, code sdk.Code) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Request-Id", "r1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(sdk.Problem{Status: status, Code: code, Detail: "why"})
}

func TestRetries(t *testing.T) {
	get := func(ctx context.Context, c *sdk.Client) error { _, err := c.Get(ctx, "a/b"); return err }
	put := func(ctx context.Context, c *sdk.Client) error {
		_, err := c.Put(ctx, "a/b", sdk.PutRequest{Value: []byte("x")})
		return err
	}
	patch := func(ctx context.Context, c *sdk.Client) error {
		_, err := c.Patch(ctx, "a/b", sdk.PatchRequest{Properties: map[string]any{"a": "x", "b": nil}})
		return err
	}
	remove := func(ctx context.Context, c *sdk.Client) error { return c.Delete(ctx, "a/b") }
	rollback := func(r sdk.RollbackRequest) func(context.Context, *sdk.Client) error {
		return func(ctx context.Context, c *sdk.Client) error { _, err := c.Rollback(ctx, "a/b", r); return err }
	}
	promote := func(ctx context.Context, c *sdk.Client) error {
		_, err := c.Promote(ctx, "a/b", sdk.PromoteRequest{})
		return err
	}
	destroy := func(ctx context.Context, c *sdk.Client) error { return c.Destroy(ctx, "a/b") }
	timedOut := func(w http.ResponseWriter) { w.WriteHeader(http.StatusGatewayTimeout) }
	unavailable := func(w http.ResponseWriter) { problem(w, http.StatusServiceUnavailable, sdk.CodeUnavailable) }
	limited := func(w http.ResponseWriter) { problem(w, http.StatusTooManyRequests, sdk.CodeRateLimited) }
	hangUp := func(w http.ResponseWriter) {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = connection.Close()
		}
	}
	denied := func(w http.ResponseWriter) { problem(w, http.StatusNotFound, sdk.CodeNotFoundOrDenied) }
	tests := map[string]struct {
		call func(context.Context, *sdk.Client) error
		// first is the first answer; the second is good.
		first func(http.ResponseWriter)
		// attempts that are made, and the code of the outcome.
		attempts int64
		code     sdk.Code
	}{
		"a read while the database is away":     {get, unavailable, 2, ""},
		"a read whose answer is lost":           {get, hangUp, 2, ""},
		"a read that is refused":                {get, denied, 1, sdk.CodeNotFoundOrDenied},
		"a read beyond the rate":                {get, limited, 2, ""},
		"a write beyond the rate":               {put, limited, 2, ""},
		"a write while the database is away":    {put, unavailable, 2, ""},
		"a write behind a proxy that waits":     {put, timedOut, 2, ""},
		"a write whose answer is lost":          {put, hangUp, 2, ""},
		"a patch whose answer is lost":          {patch, hangUp, 2, ""},
		"a write that is refused":               {put, denied, 1, sdk.CodeNotFoundOrDenied},
		"a deletion whose answer is lost":       {remove, hangUp, 1, sdk.CodeUnavailable},
		"a deletion while the database is away": {remove, unavailable, 1, sdk.CodeUnavailable},
		"a rollback whose answer is lost":       {rollback(sdk.RollbackRequest{}), hangUp, 1, sdk.CodeUnavailable},
		"a rollback to a version":               {rollback(sdk.RollbackRequest{Version: 3}), hangUp, 2, ""},
		"a rollback that expects a version":     {rollback(sdk.RollbackRequest{Version: 3, ExpectedVersion: new(int64(4))}), hangUp, 1, sdk.CodeUnavailable},
		"a promotion whose answer is lost":      {promote, hangUp, 1, sdk.CodeUnavailable},
		"a destruction whose answer is lost":    {destroy, hangUp, 2, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int64
			var key string
			client := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if attempts.Add(1) == 1 {
					key = r.Header.Get("Idempotency-Key")
					test.first(w)
					return
				}
				body, _ := io.ReadAll(r.Body)
				if r.Method == http.MethodPut && string(body) != `{"value":"eA=="}` {
					t.Errorf("the second attempt sent %q", body)
				}
				if again := r.Header.Get("Idempotency-Key"); again != key || r.Method == http.MethodPut && key == "" {
					t.Errorf("the attempts have the keys %q and %q", key, again)
				}
				_, _ = w.Write([]byte(`{"path":"a/b","version":1}`))
			})
			err := test.call(t.Context(), client)
			if got := sdk.CodeOf(err); got != test.code || (err == nil) != (test.code == "") {
				t.Errorf("got %v", err)
			}
			if got := attempts.Load(); got != test.attempts {
				t.Errorf("%d attempts, want %d", got, test.attempts)
			}
		})
	}
}

// A write to a server that is not there was never sent, so that it is tried again.
func TestAWriteThatCannotConnectIsTriedAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	var dials atomic.Int64
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	client := newClient(t, sdk.Config{Address: "http://" + address, Token: "t", Retries: 1, HTTPClient: &http.Client{Transport: transport}})
	_, err = client.Put(t.Context(), "a/b", sdk.PutRequest{Value: []byte("x")})
	if sdk.CodeOf(err) != sdk.CodeUnavailable || dials.Load() != 2 {
		t.Errorf("got %v after %d attempts", err, dials.Load())
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		problem(w, http.StatusServiceUnavailable, sdk.CodeUnavailable)
		cancel()
	})
	if _, err := client.Get(ctx, "a/b"); err == nil {
		t.Error("no error")
	}
}

// A renewed token is found when the old one is refused.
func TestTokenFileIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("old\n"), 0o600))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer new" {
			problem(w, http.StatusUnauthorized, sdk.CodeUnauthenticated)
			return
		}
		_, _ = w.Write([]byte(`{}`))
	}))
	defer s.Close()
	client := newClient(t, sdk.Config{Address: s.URL, TokenFile: file})
	if _, err := client.Whoami(t.Context()); sdk.CodeOf(err) != sdk.CodeUnauthenticated {
		t.Fatalf("the old token: %v", err)
	}
	must(t, os.WriteFile(file, []byte("new\n"), 0o600))
	if _, err := client.Whoami(t.Context()); err != nil {
		t.Errorf("the new token: %v", err)
	}
}

// TestARefusedTokenIsTriedOnceMore: when the file has another one, also by a client that
// does not repeat calls, and not when it has the same.
func TestARefusedTokenIsTriedOnceMore(t *testing.T) {
	for name, ask := range map[string]func(*sdk.Client) error{
		"a read": func(c *sdk.Client) error { _, err := c.Whoami(t.Context()); return err },
		"a watch": func(c *sdk.Client) error {
			for _, err := range c.Watch(t.Context(), sdk.WatchOptions{Retrying: func(error, time.Duration) { t.Error("the watch was interrupted") }}) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "token")
			must(t, os.WriteFile(file, []byte("old"), 0o600))
			var mu sync.Mutex
			var asked []string
			good := "old"
			renew := func(token string) {
				mu.Lock()
				defer mu.Unlock()
				good = token
			}
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				if asked = append(asked, token); token != good {
					problem(w, http.StatusUnauthorized, sdk.CodeUnauthenticated)
					return
				}
				if r.URL.Path == "/v1/watch" {
					_, _ = io.WriteString(w, positionText)
					return
				}
				_, _ = w.Write([]byte(`{}`))
			}))
			defer s.Close()
			client := newClient(t, sdk.Config{Address: s.URL, TokenFile: file, Retries: -1})
			must(t, ask(client))
			renew("new")
			must(t, os.WriteFile(file, []byte("new"), 0o600))
			must(t, ask(client))
			renew("newer")
			if _, err := client.Whoami(t.Context()); sdk.CodeOf(err) != sdk.CodeUnauthenticated {
				t.Errorf("a token that stays refused: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			wantList(t, "tokens", asked, "old", "old", "new", "new")
		})
	}
}

func TestErrors(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("path") {
		case "denied":
			problem(w, http.StatusNotFound, sdk.CodeNotFoundOrDenied)
		case "proxy":
			http.Error(w, "<html>not for you", http.StatusForbidden)
		case "redirect":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case "html":
			_, _ = fmt.Fprint(w, "<html>hello")
		}
	})
	_, err := client.Get(t.Context(), "denied")
	answer, ok := errors.AsType[*sdk.Error](err)
	if !ok || answer.Code != sdk.CodeNotFoundOrDenied || answer.Status != 404 || answer.RequestID != "r1" || err.Error() != "why" {
		t.Errorf("denied: %+v", err)
	}
	for path, want := range map[string]string{
		"proxy": "is the address right?", "redirect": "sent a redirect", "html": "is the address right?",
	} {
		if _, err := client.Get(t.Context(), path); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "<html>") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestConfig(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(garbage, []byte("x"), 0o600))
	tests := map[string]struct {
		config sdk.Config
		want   string
	}{
		"plain http":        {sdk.Config{Address: "http://coffer.example"}, "not https"},
		"another scheme":    {sdk.Config{Address: "ftp://coffer.example"}, "not https"},
		"no scheme":         {sdk.Config{Address: "coffer.example"}, "plain URL"},
		"with a password":   {sdk.Config{Address: "https://u:p@coffer.example"}, "plain URL"},
		"no authority":      {sdk.Config{Address: "https://coffer.example", CACert: garbage + "x"}, "COFFER_CACERT"},
		"garbage authority": {sdk.Config{Address: "https://coffer.example", CACert: garbage}, "no PEM certificate"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := sdk.New(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestConfigFromTheEnvironment(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{}`))
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("from-file"), 0o600))
	t.Setenv(sdk.EnvAddress, s.URL)
	t.Setenv(sdk.EnvTokenFile, file)
	for token, want := range map[string]string{"from-environment": "Bearer from-environment", "": "Bearer from-file"} {
		t.Setenv(sdk.EnvToken, token)
		_, err := newClient(t, sdk.Config{}).Whoami(t.Context())
		must(t, err)
		if got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
}

func TestQueries(t *testing.T) {
	var got string
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.URL.String()
		_, _ = w.Write([]byte(`{}`))
	})
	ctx := t.Context()
	at := time.Date(2026, 1, 31, 9, 0, 0, 0, time.FixedZone("", 3600))
	tests := map[string]func() error{
		"GET /v1/secret?path=a%2Fb%26c":       func() error { _, err := client.Get(ctx, "a/b&c"); return err },
		"GET /v1/secret?path=a%2Fb&version=3": func() error { _, err := client.GetVersion(ctx, "a/b", 3); return err },
		"POST /v1/secret/rotate?path=a%2Fb":   func() error { _, err := client.Rotate(ctx, "a/b", sdk.PutRequest{}); return err },
		"GET /v1/secret/metadata?path=a%2Fb":  func() error { _, err := client.Metadata(ctx, "a/b"); return err },
		"DELETE /v1/secret?path=a%2Fb":        func() error { return client.Delete(ctx, "a/b") },
		"GET /v1/secrets?limit=1000&prefix=a": func() error { _, err := client.List(ctx, "a"); return err },
		"GET /v1/policies/show?name=a%26b":    func() error { _, err := client.Policy(ctx, "a&b"); return err },
		"GET /v1/rotation/overdue?prefix=a":   func() error { _, err := client.Overdue(ctx, "a"); return err },
		"GET /v1/explain?capability=read&environment=production&namespace=payments&path=a%2Fb&serviceAccount=api": func() error {
			_, err := client.Explain(ctx, sdk.ExplainQuery{
				Path: "a/b", Capability: "read", Namespace: "payments", ServiceAccount: "api", Environment: "production",
			})
			return err
		},
		"GET /v1/explain?group=a&group=b&path=a%2Fb&user=alice": func() error {
			_, err := client.Explain(ctx, sdk.ExplainQuery{Path: "a/b", User: "alice", Groups: []string{"a", "b"}})
			return err
		},
		"GET /v1/audit?action=read&before=9&caller=payments%2Fapi&decision=denied&limit=5&prefix=a%2F&since=2026-01-31T08%3A00%3A00Z": func() error {
			_, err := client.Audit(ctx, sdk.AuditQuery{
				Prefix: "a/", Caller: "payments/api", Action: "read", Decision: "denied", Since: at, Before: 9, Limit: 5,
			})
			return err
		},
	}
	for want, call := range tests {
		must(t, call())
		if got != want {
			t.Errorf("\nsent %s\nwant %s", got, want)
		}
	}
}

func TestListFollowsPages(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := sdk.SecretList{Items: []sdk.Metadata{{Path: "a/1"}}, Next: "a/1"}
		if r.URL.Query().Get("after") == "a/1" {
			page = sdk.SecretList{Items: []sdk.Metadata{{Path: "a/2"}}}
		}
		_ = json.NewEncoder(w).Encode(page)
	})
	got, err := client.List(t.Context(), "")
	must(t, err)
	if diff := cmp.Diff([]sdk.Metadata{{Path: "a/1"}, {Path: "a/2"}}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestValuesDoNotPrint(t *testing.T) {
	const canary = "hunter2"
	found := sdk.Secret{Metadata: sdk.Metadata{Path: "a/b", Version: 3}, Value: []byte(canary)}
	request := sdk.PutRequest{Value: []byte(canary)}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "found", found, "request", request)
	printed := fmt.Sprintf("%v %+v %#v %s %d %x %q %v %+v %#v %s %d %x %q", found, found, found, found, found, found, found, request, request, request, request, request, request, request) + log.String()
	for _, form := range []string{canary, "aHVudGVyMg", fmt.Sprint([]byte(canary)), "0x68"} {
		if strings.Contains(printed, form) {
			t.Errorf("printed as %s", form)
		}
	}
	if !strings.Contains(printed, "a/b@3") {
		t.Errorf("does not name the secret: %s", printed)
	}
}

// TestIdempotencyKeys: each write has a key of its own, or the one that was given.
func TestIdempotencyKeys(t *testing.T) {
	var keys []string
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		_, _ = w.Write([]byte(`{}`))
	})
	for _, key := range []string{"", "", "mine"} {
		_, err := client.Put(t.Context(), "a/b", sdk.PutRequest{IdempotencyKey: key})
		must(t, err)
	}
	_, err := client.Rotate(t.Context(), "a/b", sdk.PutRequest{})
	must(t, err)
	if len(keys) != 4 || keys[0] == "" || keys[0] == keys[1] || keys[2] != "mine" || keys[3] == "" || keys[3] == keys[0] {
		t.Errorf("keys %q", keys)
	}
}
