package server

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// TestTheIDStandsAtTheLastOfItsEvents: who breaks off between them gets all again.
func TestTheIDStandsAtTheLastOfItsEvents(t *testing.T) {
	path, err := secret.ParsePath("a/b")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	s := &eventStream{w: &out}
	for _, b := range []batch{
		{[]vault.Event{{Kind: changes.Policy, At: at}, {Kind: changes.Rotate, Path: path, Version: 8, At: at}}, "c1.first"},
		{nil, "c1.second"},
	} {
		if err := s.send(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.keepAlive(); err != nil {
		t.Fatal(err)
	}
	const want = `data: {"kind":"policy","at":"2026-01-31T08:00:00Z"}

id: c1.first
data: {"kind":"rotate","path":"a/b","version":8,"at":"2026-01-31T08:00:00Z"}

id: c1.second
data: {"kind":"position"}

:

`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
}

// endless is a vault in which nothing happens, but for an event each minute.
type endless struct {
	Vault
	err error
}

func (v endless) Watch(ctx context.Context, _ secret.Caller, _ vault.Scope, _ changes.Position, handle vault.WatchHandler) error {
	if v.err != nil {
		return v.err
	}
	for {
		if err := handle(ctx, nil, "c1.position"); err != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Minute): // of the bubble
		}
	}
}

// changing answers about a token as its time has come.
type changing struct {
	everyone
	asked *int
	at    func(since time.Duration) (secret.Caller, error)
	began time.Time
}

func (c changing) Authenticate(context.Context, string) (secret.Caller, error) {
	*c.asked++
	return c.at(time.Since(c.began))
}

// stream is a connection as http.Server gives it, without one.
type stream struct {
	*httptest.ResponseRecorder
	deadlines int
}

func (s *stream) SetWriteDeadline(time.Time) error { s.deadlines++; return nil }

func (*stream) SetReadDeadline(time.Time) error { return nil }

// TestAWatchLastsAsLongAsItsToken: far longer than any other request, but no longer than
// the token is good and its caller the same.
func TestAWatchLastsAsLongAsItsToken(t *testing.T) {
	caller := secret.Caller{Kind: secret.KindServiceAccount, Namespace: "team", Name: "api", UID: "1", Environment: "production", Groups: []string{"g"}}
	moved, anew := caller, caller
	moved.Environment, anew.UID = "staging", "2"
	after := func(d time.Duration, then secret.Caller, err error) func(time.Duration) (secret.Caller, error) {
		return func(since time.Duration) (secret.Caller, error) {
			if since >= d {
				return then, err
			}
			return caller, nil
		}
	}
	for name, test := range map[string]struct {
		at    func(time.Duration) (secret.Caller, error)
		lasts time.Duration
	}{
		"until the client is gone":                  {after(time.Hour, caller, nil), 10 * time.Minute},
		"until the token is no good":                {after(95*time.Second, secret.Caller{}, authn.ErrUnauthenticated), 100 * time.Second},
		"until the namespace is of another":         {after(95*time.Second, moved, nil), 100 * time.Second},
		"until the account is another":              {after(95*time.Second, anew, nil), 100 * time.Second},
		"until an event while nothing can be known": {after(95*time.Second, secret.Caller{}, authn.ErrUnavailable), 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, began := 0, time.Now()
				a := changing{asked: &asked, at: test.at, began: began}
				handler := New(Config{Vault: endless{}, Authenticator: a, Logger: slog.New(slog.DiscardHandler)})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/watch", nil)
				w := &stream{ResponseRecorder: httptest.NewRecorder()}
				handler.ServeHTTP(w, request)
				if lasted := time.Since(began); lasted != test.lasts {
					t.Errorf("it lasted %v, want %v", lasted, test.lasts)
				}
				if want := int(test.lasts / (10 * time.Second)); asked < want {
					t.Errorf("the token was looked at %d times, want %d", asked, want)
				}
				if n := strings.Count(w.Body.String(), ":\n\n"); n < int(test.lasts/(10*time.Second))-1 || w.deadlines < n {
					t.Errorf("%d signs of life, %d writes with a deadline", n, w.deadlines)
				}
				if !strings.HasPrefix(w.Body.String(), "id: c1.position\ndata: {\"kind\":\"position\"}\n\n") {
					t.Errorf("it begins with %q", w.Body)
				}
			})
		})
	}
}

// waiting is a vault whose database does not answer.
type waiting struct{ Vault }

func (waiting) Watch(ctx context.Context, _ secret.Caller, _ vault.Scope, _ changes.Position, _ vault.WatchHandler) error {
	<-ctx.Done()
	return nil
}

type panicking struct{ Vault }

func (panicking) Watch(context.Context, secret.Caller, vault.Scope, changes.Position, vault.WatchHandler) error {
	panic("correct horse")
}

// TestAWatchThatDoesNotBeginIsAnswered: with the status of what kept it from that.
func TestAWatchThatDoesNotBeginIsAnswered(t *testing.T) {
	for name, test := range map[string]struct {
		vault  Vault
		ending bool
		status int
	}{
		"the server stops":             {waiting{}, true, http.StatusServiceUnavailable},
		"the database is away":         {endless{err: secret.ErrUnavailable}, false, http.StatusServiceUnavailable},
		"the position is lost":         {endless{err: secret.ErrPositionLost}, false, http.StatusGone},
		"the database does not answer": {waiting{}, false, http.StatusServiceUnavailable},
		"the vault panics":             {panicking{}, false, http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				ending := make(chan struct{})
				if test.ending {
					close(ending)
				}
				handler := New(Config{Vault: test.vault, Authenticator: everyone{}, Logger: slog.New(slog.NewTextHandler(&log, nil)), Ending: ending})
				w := &stream{ResponseRecorder: httptest.NewRecorder()}
				handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/watch", nil))
				if w.Code != test.status || w.Header().Get("Content-Type") != problemType {
					t.Errorf("status %d, want %d: %s", w.Code, test.status, w.Body)
				}
				if strings.Contains(log.String()+w.Body.String(), "horse") {
					t.Errorf("what was thrown is told: %s%s", &log, w.Body)
				}
			})
		})
	}
}
