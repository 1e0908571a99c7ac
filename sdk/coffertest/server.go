package coffertest

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// firstToken is good until SetToken.
const firstToken = "coffertest"

// Server is a stand-in for Coffer. It is safe for concurrent use.
type Server struct {
	t      testing.TB
	http   *httptest.Server
	ending chan struct{}

	mu      sync.Mutex
	token   string
	away    bool
	reads   map[string]int
	held    map[string]map[int64]time.Time // when each version was read last, by path
	denied  map[string]bool
	secrets map[string]*secret
	answers map[string]answered // of writes, by path and idempotency key
	feed    feed
}

// NewServer starts a server without secrets, which ends with the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		t: t, ending: make(chan struct{}), token: firstToken, reads: map[string]int{}, held: map[string]map[int64]time.Time{}, denied: map[string]bool{},
		secrets: map[string]*secret{}, answers: map[string]answered{}, feed: newFeed(),
	}
	s.http = httptest.NewTLSServer(s.handler())
	t.Cleanup(func() {
		close(s.ending)
		s.http.Close()
	})
	return s
}

// Config is what sdk.New needs to reach the server.
func (s *Server) Config() sdk.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sdk.Config{Address: s.http.URL, Token: s.token, HTTPClient: s.http.Client()}
}

// Client returns a client of the server.
func (s *Server) Client(t testing.TB) *sdk.Client {
	t.Helper()
	client, err := sdk.New(s.Config())
	if err != nil {
		t.Fatalf("make a client of the test server: %v", err)
	}
	return client
}

// Setenv sets COFFER_ADDR, COFFER_TOKEN and COFFER_CACERT until the test ends, so that a
// program that makes its client by sdk.New(sdk.Config{}) finds the server.
func (s *Server) Setenv(t testing.TB) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
	if err := os.WriteFile(file, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	config := s.Config()
	t.Setenv(sdk.EnvAddress, config.Address)
	t.Setenv(sdk.EnvToken, config.Token)
	t.Setenv(sdk.EnvCACert, file)
}

// SetToken makes token the only one that is good: the one before has expired.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	s.token = token
	s.mu.Unlock()
	s.http.CloseClientConnections() // a watch ends with its token
}

// Put writes the next version of path, which is then current, and returns its number.
func (s *Server) Put(path, value string) int64 {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	written, p := s.write(path, sdk.PutRequest{Value: []byte(value)}, false)
	if p != nil {
		s.t.Fatalf("put %s: %s", path, p.Detail)
	}
	return written.Version
}

// Delete deletes path.
func (s *Server) Delete(path string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.remove(path); p != nil {
		s.t.Fatalf("delete %s: %s", path, p.Detail)
	}
}

// Deny takes every right to path from the caller, until Allow. The path need not exist.
func (s *Server) Deny(path string) { s.deny(path, true) }

// Allow takes a Deny back.
func (s *Server) Allow(path string) { s.deny(path, false) }

func (s *Server) deny(path string, denied bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.denied[path] != denied {
		s.denied[path] = denied
		s.feed.add(sdk.Event{Kind: sdk.EventPolicy})
	}
}

// Reads is how often the value of path was read, or asked for in vain.
func (s *Server) Reads(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[path]
}

// Outage breaks all connections, and each one that is made, until Recover. What Put,
// Delete, Deny and Allow change meanwhile is so afterwards.
func (s *Server) Outage() {
	s.mu.Lock()
	s.away = true
	s.mu.Unlock()
	s.http.CloseClientConnections()
}

// Recover ends an Outage.
func (s *Server) Recover() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = false
}

// Restart breaks all connections once, as the restart of a server does.
func (s *Server) Restart() { s.http.CloseClientConnections() }

// ForgetChanges makes the server forget what changed so far, and breaks all
// connections: watches begin anew with sdk.EventReset.
func (s *Server) ForgetChanges() {
	s.mu.Lock()
	s.feed.forget()
	s.mu.Unlock()
	s.http.CloseClientConnections()
}

// admit lets requests through while there is no outage, whose token is good.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		away, good := s.away, r.URL.Path == readyRoute || r.Header.Get("Authorization") == "Bearer "+s.token
		s.mu.Unlock()
		switch {
		case away:
			panic(http.ErrAbortHandler) // no answer
		case !good:
			answer(w, nil, problem(http.StatusUnauthorized, sdk.CodeUnauthenticated, "the token is not the test server's: use Server.Client or Server.Config"))
		default:
			next.ServeHTTP(w, r)
		}
	})
}
