package access

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
)

// A command goes on over another connection when the network has forgotten the one it had,
// of which no side is told.
func TestAForgottenConnectionIsGivenUp(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	network, address := testkit.Proxy(t, server.URL)
	i := &Installation{now: time.Now, token: "t", renew: time.Now().Add(time.Hour), expires: time.Now().Add(time.Hour)}
	c, err := i.Connect(t.Context(), Route{Address: address, CACert: file})
	must(t, err)
	get := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*(pingAfter+pingPatience))
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Address, http.NoBody)
		must(t, err)
		answer, err := c.HTTP.Do(r)
		if err != nil {
			return err
		}
		if answer.ProtoMajor != 2 {
			t.Errorf("the answer is of %s", answer.Proto)
		}
		return answer.Body.Close()
	}
	must(t, get())
	network.Strand()
	began := time.Now()
	_ = get() // is on the connection that is dead
	must(t, get())
	if took := time.Since(began); took > pingAfter+pingPatience+10*time.Second {
		t.Errorf("the connection was given up after %v", took)
	}
}
