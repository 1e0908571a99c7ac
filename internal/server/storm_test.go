package server_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/time/rate"

	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// byToken takes a token for its caller's namespace: how tokens are checked is not what
// the test is about, and its API server would be what storms.
type byToken struct{}

func (byToken) Authenticate(_ context.Context, token string) (secret.Caller, error) {
	return vaulttest.ServiceAccount(token, "api", ""), nil
}

// Known implements server.Authenticator.
func (byToken) Known(string) bool { return true }

func (byToken) Environment(context.Context, string) (string, error) { return "", nil }

func (byToken) ServiceAccountUID(context.Context, string, string) (string, error) { return "", nil }

// TestAStormLeavesOthersTheirAnswers: while one caller has hundreds of requests under
// way, without a limit of its rate, every request of another is answered, and so is
// what the operator asks of the engine itself.
func TestAStormLeavesOthersTheirAnswers(t *testing.T) {
	vault := vaulttest.Start(t)
	storm := account{caller: vaulttest.ServiceAccount("storm", "api", ""), token: "storm"}
	neighbour := account{caller: vaulttest.ServiceAccount("neighbour", "api", ""), token: "neighbour"}
	handler := server.New(server.Config{Vault: vault.Engine, Authenticator: byToken{}, Logger: slog.New(slog.DiscardHandler), Rate: rate.Inf, Burst: 1})
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	e := &env{Env: vault, url: s.URL}
	vault.AllowAll(t, storm.caller, "**")
	vault.AllowAll(t, neighbour.caller, "**")
	vault.Put(t, "a/b", "v")
	ctx, stop := context.WithCancel(t.Context())
	var stormed atomic.Int64
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	transport := &http.Transport{MaxIdleConnsPerHost: 400}
	defer transport.CloseIdleConnections()
	underWay := make(chan struct{}, 400)
	for range cap(underWay) {
		group.Go(func() {
			first := true
			for ctx.Err() == nil {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+at("/v1/secret", "a/b"), strings.NewReader(""))
				if err != nil {
					return
				}
				request.Header.Set("Authorization", "Bearer "+storm.token)
				if response, err := transport.RoundTrip(request); err == nil {
					stormed.Add(1)
					_, _ = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
				if first {
					underWay <- struct{}{}
					first = false
				}
			}
		})
	}
	for range cap(underWay) {
		<-underWay
	}
	before := stormed.Load()
	for i := range 15 {
		if got := e.do(t, neighbour, http.MethodGet, at("/v1/secret", "a/b"), ""); got.status != http.StatusOK {
			t.Fatalf("request %d of the neighbour was answered %d: %s", i, got.status, got.body)
		}
		if got := e.do(t, neighbour, http.MethodPut, at("/v1/secret", "a/neighbour"), putBody(t, "v")); got.status != http.StatusOK {
			t.Fatalf("write %d of the neighbour was answered %d: %s", i, got.status, got.body)
		}
		vault.Put(t, "a/operator", "v") // past the API, as the operator does
	}
	if stormed.Load()-before < 15 {
		t.Errorf("the storm was answered %d times only: it was none", stormed.Load()-before)
	}
}
