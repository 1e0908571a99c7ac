package server_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestInvalidTokensAreLimited: an address that sends one invalid token after the
// other is told to wait before the API server is asked about the next.
func TestInvalidTokensAreLimited(t *testing.T) {
	e := start(t, vaulttest.Start(t), nil)
	counts := map[int]int{}
	for i := range 100 {
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
