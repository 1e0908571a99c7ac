package coffertest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/sdk"
	"github.com/coffer-vault/coffer/sdk/coffertest"
)

// TestServerIsMadeToFail: a Follow over real connections goes on through it all, and ends
// with what ends it.
func TestServerIsMadeToFail(t *testing.T) {
	server := coffertest.NewServer(t)
	server.Put("a/b", "one")
	values, end := make(chan string), make(chan error, 1)
	go func() {
		defer close(values)
		for found, err := range server.Client(t).Follow(t.Context(), "a/b") {
			if err != nil {
				end <- err
				return
			}
			values <- found.Text()
		}
	}()
	next := func(want string) {
		t.Helper()
		select {
		case got := <-values:
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q has not come", want)
		}
	}
	next("one")
	server.Put("a/b", "two")
	next("two")
	server.Restart()
	server.Put("a/b", "three")
	next("three")
	server.Outage()
	server.Put("a/b", "four")
	server.Recover()
	next("four")
	server.ForgetChanges()
	server.Put("a/b", "five")
	next("five")
	server.Deny("a/b")
	if err := <-end; sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
		t.Errorf("denied: %v", err)
	}
	if got := server.Reads("a/b"); got < 6 {
		t.Errorf("%d reads", got)
	}
}

func TestServerDenies(t *testing.T) {
	server := coffertest.NewServer(t)
	client := server.Client(t)
	server.Put("a/b", "one")
	server.Deny("a/b")
	for name, call := range map[string]func() error{
		"get":      func() error { _, err := client.Get(t.Context(), "a/b"); return err },
		"metadata": func() error { _, err := client.Metadata(t.Context(), "a/b"); return err },
		"put": func() error {
			_, err := client.Put(t.Context(), "a/b", sdk.PutRequest{Value: []byte("x")})
			return err
		},
		"rollback": func() error { _, err := client.Rollback(t.Context(), "a/b", sdk.RollbackRequest{}); return err },
		"undelete": func() error { _, err := client.Undelete(t.Context(), "a/b"); return err },
		"delete":   func() error { return client.Delete(t.Context(), "a/b") },
	} {
		if err := call(); sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found, err := client.List(t.Context(), ""); err != nil || len(found) != 0 {
		t.Errorf("the list is %v, %v", found, err)
	}
	server.Allow("a/b")
	found, err := client.Get(t.Context(), "a/b")
	if err != nil || found.Text() != "one" || server.Reads("a/b") != 2 {
		t.Errorf("allowed again: %v, %v, %d reads", found, err, server.Reads("a/b"))
	}
}

func TestServerOutage(t *testing.T) {
	server := coffertest.NewServer(t)
	server.Put("a/b", "one")
	config := server.Config()
	config.Retries = -1
	client, err := sdk.New(config)
	must(t, err)
	must(t, client.Ready(t.Context()))
	server.Outage()
	if err := client.Ready(t.Context()); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("ready in an outage: %v", err)
	}
	if _, err := client.Get(t.Context(), "a/b"); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("in an outage: %v", err)
	}
	server.Recover()
	if _, err := client.Get(t.Context(), "a/b"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	server.SetToken("new")
	must(t, client.Ready(t.Context())) // whatever the token
	if _, err := client.Get(t.Context(), "a/b"); sdk.CodeOf(err) != sdk.CodeUnauthenticated {
		t.Errorf("with the token of before: %v", err)
	}
}

// TestServerByEnvironment: a program that configures nothing finds it.
func TestServerByEnvironment(t *testing.T) {
	server := coffertest.NewServer(t)
	server.Put("a/b", "one")
	server.Setenv(t)
	client, err := sdk.New(sdk.Config{})
	must(t, err)
	found, err := client.Get(t.Context(), "a/b")
	if err != nil || found.Text() != "one" {
		t.Errorf("got %v, %v", found, err)
	}
	if who, err := client.Whoami(t.Context()); err != nil || who.Name == "" {
		t.Errorf("got %v, %v", who, err)
	}
	if _, err := client.Audit(t.Context(), sdk.AuditQuery{}); err == nil || !strings.Contains(err.Error(), "does not do GET /v1/audit") {
		t.Errorf("what it does not do: %v", err)
	}
}
