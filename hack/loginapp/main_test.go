package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/testkit"
)

func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

// wrong is address with another password.
func wrong(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), "not-the-password")
	return u.String()
}

func TestLoginsAreCountedAndTheFileIsReadEachTime(t *testing.T) {
	right := testkit.Postgres(t)
	file := filepath.Join(t.TempDir(), "url")
	write := func(address string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(address+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(right)
	address, err := addressFrom(environment(map[string]string{"DATABASE_URL_FILE": file}))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{address: address}
	server := httptest.NewServer(s.handler())
	defer server.Close()
	if got, _ := get(t, server, "/ready"); got != 503 {
		t.Errorf("before the first login /ready answers %d", got)
	}
	s.note(s.login(t.Context()))
	if got, _ := get(t, server, "/ready"); got != 200 {
		t.Errorf("after the first login /ready answers %d", got)
	}
	write(wrong(t, right))
	s.note(s.login(t.Context()))
	write("no address")
	s.note(s.login(t.Context()))
	write(right)
	s.note(s.login(t.Context()))

	_, body := get(t, server, "/")
	var seen counts
	if err := json.Unmarshal([]byte(body), &seen); err != nil {
		t.Fatal(err)
	}
	if seen.Tried != 4 || seen.Failed != 2 {
		t.Errorf("%d of %d logins failed, want 2 of 4", seen.Failed, seen.Tried)
	}
	if !strings.Contains(seen.Problem, "28P01") || strings.Contains(seen.Problem, "not-the-password") {
		t.Errorf("the problem is %q, want the server's code and no password", seen.Problem)
	}
}

func TestWorkFinishesTheLoginThatIsUnderWay(t *testing.T) {
	right := testkit.Postgres(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := &service{address: func() (string, error) {
		cancel() // in the midst of the first one
		return right, nil
	}}
	s.work(ctx)
	if diff := cmp.Diff(counts{Tried: 1}, s.counts()); diff != "" {
		t.Error(diff)
	}
}

func TestAServerThatIsAwayIsNoSecret(t *testing.T) {
	s := &service{address: func() (string, error) {
		return "postgres://app:not-the-password@127.0.0.1:1/app?sslmode=disable", nil
	}}
	s.note(s.login(t.Context()))
	if c := s.counts(); c.Failed != 1 || strings.Contains(c.Problem, "not-the-password") || !strings.Contains(c.Problem, "as app: ") {
		t.Errorf("it counted %+v", c)
	}
}

func TestItStartsOnlyWithAnAddressThatItCanUse(t *testing.T) {
	const good = "postgres://app_b:value@db/app"
	for name, c := range map[string]struct {
		variables map[string]string
		want      string
	}{
		"nothing":             {nil, "cannot be read"},
		"no address":          {map[string]string{"DATABASE_URL": "://value"}, "cannot be read"},
		"no file":             {map[string]string{"DATABASE_URL_FILE": "/does/not/exist"}, "no such file"},
		"a user it refuses":   {map[string]string{"DATABASE_URL": good, "REFUSED_USER": "app_b"}, "does not start as app_b"},
		"another one refused": {map[string]string{"DATABASE_URL": good, "REFUSED_USER": "app_a"}, ""},
		"an address":          {map[string]string{"DATABASE_URL": good}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := addressFrom(environment(c.variables))
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "value")) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// get returns the status and the body of an answer.
func get(t *testing.T, server *httptest.Server, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
