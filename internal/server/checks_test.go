package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// gated answers about tokens once the gate is open, and counts those that it was asked
// about: how many at a time is what the test is about, which no API server tells.
type gated struct {
	Authenticator
	gate chan struct{}
	good bool

	mu    sync.Mutex
	asked int
	known map[string]bool
}

func (g *gated) Known(token string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known[token]
}

func (g *gated) Authenticate(ctx context.Context, token string) (secret.Caller, error) {
	g.mu.Lock()
	g.asked++
	g.mu.Unlock()
	select {
	case <-g.gate:
	case <-ctx.Done():
		return secret.Caller{}, ctx.Err()
	}
	if !g.good {
		return secret.Caller{}, authn.ErrUnauthenticated
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known[token] = true
	return secret.Caller{Kind: secret.KindUser, Name: token}, nil
}

// ask sends a request with a token from one address, and counts its answer.
func (g *gated) ask(ctx context.Context, handler http.Handler, token string, answers map[int]int) {
	request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/whoami", http.NoBody)
	request.Header.Set("Authorization", "Bearer "+token)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	g.mu.Lock()
	defer g.mu.Unlock()
	answers[recorder.Code]++
}

// TestTokensUnderCheckCount: of the tokens that come from one address at one time, no more
// are asked about than may be refused; the rest waits, and is answered as those turn out.
func TestTokensUnderCheckCount(t *testing.T) {
	const burst = 5 * refusalBurst
	for name, test := range map[string]struct {
		good    bool
		asked   int
		answers map[int]int
	}{
		"refused":  {false, refusalBurst, map[int]int{http.StatusUnauthorized: refusalBurst, http.StatusTooManyRequests: burst - refusalBurst}},
		"accepted": {true, burst, map[int]int{http.StatusOK: burst}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, answers := &gated{gate: make(chan struct{}), good: test.good, known: map[string]bool{}}, map[int]int{}
				handler := New(Config{Authenticator: g, Logger: slog.New(slog.DiscardHandler), Rate: rate.Inf})
				var group sync.WaitGroup
				for i := range burst {
					group.Go(func() { g.ask(t.Context(), handler, fmt.Sprint("token", i), answers) })
				}
				synctest.Wait()
				if g.asked != refusalBurst {
					t.Errorf("%d tokens are under check at a time, want %d", g.asked, refusalBurst)
				}
				close(g.gate)
				group.Wait()
				if diff := cmp.Diff(test.answers, answers); diff != "" || g.asked != test.asked {
					t.Errorf("%d tokens were checked, want %d; answers by status (-want +got)\n%s", g.asked, test.asked, diff)
				}
			})
		})
	}
}

// TestWhoHangsUpCounts: the check of a token goes on when its request is given up, so
// that giving up is no way round the limit. Known tokens pass.
func TestWhoHangsUpCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, answers := &gated{gate: make(chan struct{}), good: true, known: map[string]bool{"known": true}}, map[int]int{}
		handler := New(Config{Authenticator: g, Logger: slog.New(slog.DiscardHandler), Rate: rate.Inf})
		for i := range refusalBurst {
			ctx, cancel := context.WithCancel(t.Context())
			go g.ask(ctx, handler, fmt.Sprint("token", i), answers)
			synctest.Wait()
			cancel()
			synctest.Wait()
		}
		close(g.gate)
		g.ask(t.Context(), handler, "another", answers)
		g.ask(t.Context(), handler, "known", answers)
		want := map[int]int{http.StatusServiceUnavailable: refusalBurst, http.StatusTooManyRequests: 1, http.StatusOK: 1}
		if diff := cmp.Diff(want, answers); diff != "" {
			t.Errorf("answers by status (-want +got)\n%s", diff)
		}
	})
}
