package sdk

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEntriesOverwriteWhatLeaves them, whatever the reason.
func TestEntriesOverwriteWhatLeaves(t *testing.T) {
	for name, leave := range map[string]func(*entries){
		"dropped":  func(s *entries) { s.drop("a") },
		"replaced": func(s *entries) { s.put("a", &entry{secret: Secret{Value: []byte("new")}}) },
		"too many": func(s *entries) { s.shrink(1) },
		"too old":  func(s *entries) { s.dropBefore(time.Unix(2, 0)) },
		"all":      func(s *entries) { s.dropAll() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newEntries()
			left, kept := []byte("hunter2"), []byte("hunter3")
			s.put("a", &entry{secret: Secret{Value: left}, readAt: time.Unix(1, 0)})
			s.put("b", &entry{secret: Secret{Value: kept}, readAt: time.Unix(3, 0)})
			leave(s)
			if strings.Trim(string(left), "\x00") != "" {
				t.Error("the value is still there")
			}
			if name != "all" && (s.get("b") == nil || string(kept) != "hunter3") {
				t.Error("another value went")
			}
			if len(s.byPath) != s.used.Len() {
				t.Errorf("%d paths, %d entries", len(s.byPath), s.used.Len())
			}
		})
	}
}

type nobody struct{}

// RoundTrip implements http.RoundTripper.
func (nobody) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody is there")
}

// TestCacheSweeps what may not be used any more, though nobody asks for it.
func TestCacheSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := New(Config{Address: "https://coffer.example", Token: "t", HTTPClient: &http.Client{Transport: nobody{}}})
		if err != nil {
			t.Fatal(err)
		}
		c := NewCache(client, CacheConfig{MaxStale: 10 * time.Minute})
		defer c.Close()
		c.mu.Lock()
		c.entries.put("a", &entry{secret: Secret{Value: []byte("hunter2")}, readAt: time.Now()})
		c.mu.Unlock()
		for _, step := range []struct {
			after time.Duration
			kept  int
		}{{10 * time.Minute, 1}, {2 * time.Minute, 0}} {
			<-time.After(step.after)
			c.mu.Lock()
			if got := c.entries.used.Len(); got != step.kept {
				t.Errorf("after %v there are %d values, want %d", step.after, got, step.kept)
			}
			c.mu.Unlock()
		}
	})
}
