package sdk_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/sdk"
)

// A call on a connection that the network has forgotten, of which no side is told, is sent
// again over another.
func TestAForgottenConnectionIsGivenUp(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("a request came by %s", r.Proto)
		}
		_, _ = w.Write([]byte(`{"path":"a/b","version":1}`))
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	network, address := testkit.Proxy(t, server.URL)
	client := newClient(t, sdk.Config{Address: address, Token: "t", CACert: file})
	get := func() {
		t.Helper()
		_, err := client.Get(t.Context(), "a/b")
		must(t, err)
	}
	get()
	network.Strand()
	began := time.Now()
	get()
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("the connection was given up after %v", took)
	}
}
