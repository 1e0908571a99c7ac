package sdk_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// followed is a Follow under way.
type followed struct {
	values chan string
	err    error // once values is closed
}

// follow follows a/b until ctx ends.
func follow(ctx context.Context, client *sdk.Client) *followed {
	f := &followed{values: make(chan string)}
	go func() {
		defer close(f.values)
		for found, err := range client.Follow(ctx, "a/b") {
			if err != nil {
				f.err = err
				return
			}
			f.values <- found.Text()
		}
	}()
	return f
}

// next wants the next value within a time.
func (f *followed) next(t *testing.T, want string, within time.Duration) {
	t.Helper()
	select {
	case got, ok := <-f.values:
		if got != want || !ok {
			t.Errorf("got %q (%v), want %q", got, f.err, want)
		}
	case <-time.After(within):
		t.Errorf("%q has not come in %v", want, within)
	}
}

// none wants nothing for a time.
func (f *followed) none(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case got := <-f.values:
		t.Errorf("got %q (%v)", got, f.err)
	case <-time.After(d):
	}
}

func (f *followed) ends(t *testing.T, code sdk.Code) {
	t.Helper()
	if got, ok := <-f.values; ok || sdk.CodeOf(f.err) != code || (f.err == nil) != (code == "") {
		t.Errorf("got %q, %v, want the end with %q", got, f.err, code)
	}
}

const soon = 100 * time.Millisecond

// TestFollow through everything that may happen to a server and to a path.
func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("old"), 0o600))
	synctest.Test(t, func(t *testing.T) {
		s := newStandIn()
		s.renew("old")
		s.away(noServer)
		s.put("a/b", "one")
		f := follow(t.Context(), s.client(t, sdk.Config{TokenFile: file}))
		f.none(t, time.Hour) // a server that is not there yet
		s.away(nil)
		f.next(t, "one", 10*time.Second)
		f.none(t, time.Hour+30*time.Second) // what is no new version; it was looked at half a minute ago

		s.put("a/b", "two")
		s.tell(sdk.EventRotate, "a/b")
		f.next(t, "two", soon)

		s.away(unavailable) // a restart, in which something changes
		wait(t, time.Second)
		s.put("a/b", "three")
		s.away(nil)
		f.next(t, "three", 2*time.Minute)

		s.away(noServer) // an outage of longer than the server keeps changes, and than a value is kept
		wait(t, 3*time.Hour)
		s.put("a/b", "four")
		s.lose()
		s.away(nil)
		f.next(t, "four", 10*time.Second)

		s.renew("new") // the old one expires before the new one is there
		s.away(nil)
		f.none(t, 2*time.Hour)
		s.put("a/b", "five")
		must(t, os.WriteFile(file, []byte("new"), 0o600))
		f.next(t, "five", 10*time.Second)

		s.put("a/b", "six") // untold
		f.next(t, "six", time.Minute+soon)
		s.remove("a/b")
		s.tell(sdk.EventDelete, "a/b")
		f.ends(t, sdk.CodeNotFoundOrDenied)
	})
}

func TestFollowEnds(t *testing.T) {
	for name, test := range map[string]struct {
		refusal answerer
		code    sdk.Code
	}{
		"a path that is not there": {refuse(http.StatusNotFound, sdk.CodeNotFoundOrDenied), sdk.CodeNotFoundOrDenied},
		"a path that is none":      {refuse(http.StatusBadRequest, sdk.CodeInvalid), sdk.CodeInvalid},
		"a token that is refused":  {refuse(http.StatusUnauthorized, sdk.CodeUnauthenticated), sdk.CodeUnauthenticated},
		"its context":              {noServer, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStandIn()
				s.away(test.refusal)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				follow(ctx, s.client(t, sdk.Config{})).ends(t, test.code)
			})
		})
	}
}

// TestFollowOfAClosedCache ends, as does one whose caller has enough.
func TestFollowOfAClosedCache(t *testing.T) {
	withCache(t, sdk.CacheConfig{}, func(t *testing.T, c *cached) {
		c.server.put("a/b", "one")
		var got []string
		ended, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range c.Follow(ended, "a/b") {
			break
		}
		cancel()
		for found, err := range c.Follow(ended, "a/b") {
			t.Errorf("after its end: %v, %v", found, err)
		}
		for found, err := range c.Follow(t.Context(), "a/b") {
			if err != nil {
				got = append(got, err.Error())
				continue
			}
			got = append(got, found.Text())
			c.Close()
		}
		wantList(t, "values", got, "one", "the cache is closed")
	})
}
