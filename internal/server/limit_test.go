package server_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestInvalidTokensAreLimited: an address that sends one invalid token after the
// other is told to wait before the API server is asked about the next.
func TestInvalidTokensAreLimited(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	counts := map[int]int{}
	for i := 0; i < 100 && counts[http.StatusTooManyRequests] == 0; i++ {
		got := e.do(t, account{token: fmt.Sprintf("made.up.%d", i)}, http.MethodGet, "/v1/whoami", "")
		counts[got.status]++
		if got.status == http.StatusTooManyRequests && got.header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	if counts[http.StatusUnauthorized] < 40 || counts[http.StatusTooManyRequests] == 0 {
		t.Errorf("answers by status: %v; want about 40 times 401, then 429", counts)
	}
}

// TestKnownCallersPassWhileTheirAddressFloods: who was a caller before is one still when others behind the same address, a
// gateway's or a port-forward's, send one invalid token after the other.
func TestKnownCallersPassWhileTheirAddressFloods(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	known := e.account(t, "production")
	whoami := func(a account) int { return e.do(t, a, http.MethodGet, "/v1/whoami", "").status }
	if got := whoami(known); got != http.StatusOK {
		t.Fatalf("before: %d", got)
	}
	var flooding sync.WaitGroup
	defer flooding.Wait()
	flooded, ended := make(chan struct{}, 1), make(chan struct{})
	defer close(ended)
	for client := range 8 {
		flooding.Go(func() {
			for i := 0; ; i++ {
				if e.do(t, account{token: fmt.Sprintf("made.up.%d.%d", client, i)}, http.MethodGet, "/v1/whoami", "").status == http.StatusTooManyRequests {
					select {
					case flooded <- struct{}{}:
					default:
					}
				}
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	<-flooded
	for range 10 {
		if got := whoami(known); got != http.StatusOK {
			t.Errorf("beside the flood: %d, want 200", got)
		}
	}
}
