package sdk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coffer-vault/coffer/sdk"
)

// standIn answers reads and watches without a connection, so that a test has the clock
// of synctest.
type standIn struct {
	mu       sync.Mutex
	values   map[string]string
	versions map[string]int64
	refusal  answerer      // of everything, when not nil
	gate     chan struct{} // reads wait for it, when not nil
	reads    int
	token    string // the only one that is good, when not empty
	watches  []*io.PipeWriter
	lost     bool // positions are
}

func newStandIn() *standIn {
	return &standIn{values: map[string]string{}, versions: map[string]int64{}}
}

func (s *standIn) client(t *testing.T, c sdk.Config) *sdk.Client {
	t.Helper()
	c.Address, c.HTTPClient = "https://coffer.example", &http.Client{Transport: s}
	if c.TokenFile == "" {
		c.Token = "t"
	}
	return newClient(t, c)
}

// RoundTrip implements http.RoundTripper.
func (s *standIn) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	if refusal := s.refusal; refusal != nil {
		if r.URL.Path == "/v1/secret" {
			s.reads++
		}
		s.mu.Unlock()
		return refusal(r)
	}
	if s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token {
		defer s.mu.Unlock()
		return refuse(http.StatusUnauthorized, sdk.CodeUnauthenticated)(r)
	}
	if r.URL.Path == "/v1/watch" {
		defer s.mu.Unlock()
		return s.watch(r)
	}
	s.reads++
	path := r.URL.Query().Get("path")
	value, ok := s.values[path]
	version, gate := s.versions[path], s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if !ok {
		return refuse(http.StatusNotFound, sdk.CodeNotFoundOrDenied)(r)
	}
	answer, err := json.Marshal(sdk.Secret{Metadata: sdk.Metadata{Path: path, Version: version}, Value: []byte(value)})
	if err != nil {
		return nil, err
	}
	return body(http.StatusOK, strings.NewReader(string(answer)))
}

func (s *standIn) watch(r *http.Request) (*http.Response, error) {
	if s.lost && r.Header.Get("Last-Event-ID") != "" {
		return refuse(http.StatusGone, sdk.CodePositionLost)(r)
	}
	s.lost = false
	out, in := io.Pipe()
	s.watches = append(s.watches, in)
	go func() { _, _ = io.WriteString(in, positionText) }()
	go func() { <-r.Context().Done(); _ = in.CloseWithError(r.Context().Err()) }()
	return body(http.StatusOK, out)
}

// put writes the next version without a word.
func (s *standIn) put(path, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[path] = value
	s.versions[path]++
}

// renew makes another token the only good one.
func (s *standIn) renew(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// hangUp breaks the watches.
func (s *standIn) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		_ = w.Close()
	}
	s.watches = nil
}

// open has reads wait for no gate any more, but those that do.
func (s *standIn) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = nil
}

// lose forgets the positions of all watches.
func (s *standIn) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = true
}

func (s *standIn) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, path)
}

// tell sends an event to all who watch.
func (s *standIn) tell(kind sdk.EventKind, path string) {
	s.mu.Lock()
	watches := s.watches
	text := fmt.Sprintf("id: p\ndata: {\"kind\":%q,\"path\":%q,\"version\":%d}\n\n", kind, path, s.versions[path])
	s.mu.Unlock()
	for _, w := range watches {
		_, _ = io.WriteString(w, text)
	}
}

// away makes every request fail so, from now on, until it is called with nil; the watches
// break.
func (s *standIn) away(refusal answerer) {
	s.mu.Lock()
	s.refusal = refusal
	s.mu.Unlock()
	s.hangUp()
}

func (s *standIn) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

var (
	errAway     = errors.New("nobody is there")
	unavailable = refuse(http.StatusServiceUnavailable, sdk.CodeUnavailable)
	noServer    = func(*http.Request) (*http.Response, error) { return nil, errAway }
	// silence is a server that takes requests and never answers.
	silence = func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }
)
