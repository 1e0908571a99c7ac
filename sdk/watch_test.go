package sdk_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// answerer is a server, or one answer of it.
type answerer func(*http.Request) (*http.Response, error)

// conversation answers the requests of a watch one after the other; the last answer is
// given again.
type conversation struct {
	answers []answerer
	asked   []string // Last-Event-ID and token of each request
}

func (c *conversation) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := c.answers[min(len(c.asked), len(c.answers)-1)]
	c.asked = append(c.asked, strings.TrimSpace(r.Header.Get("Last-Event-ID")+" "+r.Header.Get("Authorization")))
	return answer(r)
}

func (c *conversation) client(t *testing.T, config sdk.Config) *sdk.Client {
	t.Helper()
	config.Address, config.HTTPClient = "https://coffer.example", &http.Client{Transport: c}
	return newClient(t, config)
}

func body(status int, r io.Reader) (*http.Response, error) {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Body: io.NopCloser(r)}, nil
}

// events sends text and then breaks off.
func events(text string) answerer {
	return func(*http.Request) (*http.Response, error) { return body(http.StatusOK, strings.NewReader(text)) }
}

// silent sends text and then nothing, until the client is gone.
func silent(text string) answerer {
	return func(r *http.Request) (*http.Response, error) {
		return body(http.StatusOK, io.MultiReader(strings.NewReader(text), &blocked{r.Context().Done()}))
	}
}

type blocked struct{ done <-chan struct{} }

func (b *blocked) Read([]byte) (int, error) { <-b.done; return 0, context.Canceled }

func refuse(status int, code sdk.Code) answerer {
	return func(*http.Request) (*http.Response, error) {
		return body(status, strings.NewReader(fmt.Sprintf(`{"status":%d,"code":%q,"detail":"why"}`, status, code)))
	}
}

const (
	positionText = "id: p1\ndata: {\"kind\":\"position\"}\n\n"
	eventsText   = ":\n\ndata: {\"kind\":\"put\",\"path\":\"a/b\",\"version\":1}\n\nid: p2\ndata: {\"kind\":\"rotate\",\"path\":\"a/b\",\"version\":2}\n\n"
	halfText     = "id: p9\ndata: {\"kind\":\"put\",\"path\":\"a/b\",\"version\":3}\n"
)

// watchAll returns what came until the watch ended by itself, or what is wanted had come.
func watchAll(ctx context.Context, client *sdk.Client, options sdk.WatchOptions, enough int) (came []string, err error) {
	for event, err := range client.Watch(ctx, options) {
		if err != nil {
			return came, err
		}
		came = append(came, strings.TrimSpace(fmt.Sprintf("%s %s %d %s", event.Kind, event.Path, event.Version, event.Position)))
		if len(came) == enough {
			return came, nil
		}
	}
	return came, nil
}

// TestWatchGoesOn through everything that may happen to a server.
func TestWatchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &conversation{answers: []answerer{
			refuse(http.StatusServiceUnavailable, sdk.CodeUnavailable),
			events(positionText + eventsText + halfText),
			func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
			refuse(http.StatusTooManyRequests, sdk.CodeRateLimited),
			silent(positionText),
			refuse(http.StatusInternalServerError, sdk.CodeInternal),
			events("data: {\"kind\":\"put\",\"path\":\"a/b\",\"version\":3}\n\n"),
			refuse(http.StatusGone, sdk.CodePositionLost),
			silent(positionText),
		}}
		began := time.Now()
		var retried []string
		var waited []time.Duration
		came, err := watchAll(t.Context(), c.client(t, sdk.Config{Token: "t"}), sdk.WatchOptions{After: "p0", Retrying: func(err error, wait time.Duration) {
			retried, waited = append(retried, string(sdk.CodeOf(err))), append(waited, wait)
		}}, 7)
		must(t, err)
		wantList(t, "events", came, "position  0 p1", "put a/b 1", "rotate a/b 2 p2", "position  0 p1", "put a/b 3", "reset  0", "position  0 p1")
		wantList(t, "requests", c.asked, "p0 Bearer t", "p0 Bearer t", "p2 Bearer t", "p2 Bearer t", "p2 Bearer t", "p1 Bearer t", "p1 Bearer t", "p1 Bearer t", "Bearer t")
		wantList(t, "retries", retried, "unavailable", "unavailable", "unavailable", "rate_limited", "unavailable", "internal", "unavailable", "position_lost")
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v: a server that says nothing is waited for", took)
		}
		for i, wait := range waited {
			if wait < 100*time.Millisecond || wait > 5*time.Second {
				t.Errorf("wait %d is %v", i, wait)
			}
		}
	})
}

func wantList(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s are\n%q, want\n%q", what, got, want)
	}
}

// TestWatchWaitsLongForAServerThatIsAway: and no longer than some seconds at a time.
func TestWatchWaitsLongForAServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &conversation{answers: []answerer{refuse(http.StatusServiceUnavailable, sdk.CodeUnavailable)}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		came, err := watchAll(ctx, c.client(t, sdk.Config{Token: "t"}), sdk.WatchOptions{}, 0)
		if len(came) != 0 || err != nil || len(c.asked) < 700 || len(c.asked) > 1500 {
			t.Errorf("%d requests in an hour, %q, %v", len(c.asked), came, err)
		}
	})
}

// TestWatchEndsWhenItCannotBe: with the error that says why, once.
func TestWatchEndsWhenItCannotBe(t *testing.T) {
	for name, test := range map[string]struct {
		answer answerer
		code   sdk.Code
	}{
		"a path that is none":        {refuse(http.StatusUnprocessableEntity, sdk.CodeInvalid), sdk.CodeInvalid},
		"a token that is refused":    {refuse(http.StatusUnauthorized, sdk.CodeUnauthenticated), sdk.CodeUnauthenticated},
		"a server that is another":   {events("data: <html>\n\n"), sdk.CodeInvalid},
		"one that knows no position": {refuse(http.StatusGone, sdk.CodePositionLost), sdk.CodePositionLost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &conversation{answers: []answerer{test.answer}}
				came, err := watchAll(t.Context(), c.client(t, sdk.Config{Token: "t"}), sdk.WatchOptions{}, 0)
				if sdk.CodeOf(err) != test.code || len(came) != 0 || len(c.asked) != 1 {
					t.Errorf("%v after %q and %d requests", err, came, len(c.asked))
				}
			})
		})
	}
}

// TestWatchReadsARenewedToken: of a file, however long it takes.
func TestWatchReadsARenewedToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("old\n"), 0o600))
	synctest.Test(t, func(t *testing.T) {
		refused := refuse(http.StatusUnauthorized, sdk.CodeUnauthenticated)
		c := &conversation{answers: []answerer{
			refused, refused,
			func(r *http.Request) (*http.Response, error) {
				must(t, os.WriteFile(file, []byte("new\n"), 0o600))
				return refused(r)
			},
			silent(positionText),
		}}
		came, err := watchAll(t.Context(), c.client(t, sdk.Config{TokenFile: file}), sdk.WatchOptions{}, 1)
		must(t, err)
		wantList(t, "events", came, "position  0 p1")
		wantList(t, "requests", c.asked, "Bearer old", "Bearer old", "Bearer old", "Bearer new")
	})
}

// TestWatchEndsWithItsContext: without an error, while events come and while they do not.
func TestWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &conversation{answers: []answerer{silent(positionText)}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		came, err := watchAll(ctx, c.client(t, sdk.Config{Token: "t"}), sdk.WatchOptions{}, 0)
		must(t, err)
		wantList(t, "events", came, "position  0 p1")
	})
}
