package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestStalledBodiesLeaveOthersTheirTurns: bodies that do not come hold turns of their own
// callers only, however many callers they are; others are answered meanwhile.
func TestStalledBodiesLeaveOthersTheirTurns(t *testing.T) {
	// More than may be at work at a time: 128 writes.
	const callers, ofEach = 40, 4
	vault := vaulttest.Start(t)
	s := httptest.NewServer(server.New(server.Config{Vault: vault.Engine, Authenticator: byToken{}, Logger: slog.New(slog.DiscardHandler)}))
	t.Cleanup(s.Close)
	e := &env{Env: vault, url: s.URL}
	neighbour := account{caller: vaulttest.ServiceAccount("neighbour", "api", ""), token: "neighbour"}
	vault.AllowAll(t, neighbour.caller, "**")

	ctx, end := context.WithCancel(t.Context())
	var group sync.WaitGroup
	defer group.Wait()
	defer end()
	// A client that expects it is told to go on with its body when the server reads that.
	transport := &http.Transport{ExpectContinueTimeout: time.Hour}
	defer transport.CloseIdleConnections()
	reading := make(chan struct{}, callers*ofEach)
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got100Continue: func() { reading <- struct{}{} }})
	for caller := range callers {
		for range ofEach {
			body, client := io.Pipe()
			context.AfterFunc(ctx, func() { _ = client.Close() }) // the transport waits for it
			request, err := http.NewRequestWithContext(traced, http.MethodPut, e.url+at("/v1/secret", "a/b"), body)
			must(t, err)
			request.Header.Set("Authorization", fmt.Sprintf("Bearer staller-%d", caller))
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("Expect", "100-continue")
			group.Go(func() {
				if response, err := transport.RoundTrip(request); err == nil {
					_ = response.Body.Close()
				}
			})
		}
	}
	for n := range cap(reading) {
		select {
		case <-reading:
		case <-time.After(10 * time.Second):
			t.Fatalf("%d bodies are read at a time; the others wait for a turn among all callers'", n)
		}
	}
	if got := e.do(t, neighbour, http.MethodPut, at("/v1/secret", "a/neighbour"), putBody(t, "v")); got.status != http.StatusOK {
		t.Errorf("beside stalled bodies a write was answered %d: %s", got.status, got.body)
	}
}
