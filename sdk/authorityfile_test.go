package sdk_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit/authority"
	"github.com/coffer-vault/coffer/sdk"
)

// certified is a server whose certificate can be renewed.
type certified struct {
	*httptest.Server

	mu   sync.Mutex
	pair tls.Certificate
}

func startCertified(t *testing.T, by *authority.Authority) *certified {
	t.Helper()
	s := &certified{Server: httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"path":"a/b","version":1}`))
	}))}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what the tests are about
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{s.pair}}, nil
	}}
	s.renew(t, by)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// renew shows a certificate of another authority to those who connect from now on, and
// breaks the connections that stand.
func (s *certified) renew(t *testing.T, by *authority.Authority) {
	t.Helper()
	signed := by.Server(t)
	pair, err := tls.X509KeyPair(signed.Cert, signed.Key)
	must(t, err)
	s.mu.Lock()
	s.pair = pair
	s.mu.Unlock()
	if s.URL != "" {
		s.CloseClientConnections()
	}
}

// A client outlives the authority that it began with: it goes by what the file says, at
// once when the server is not trusted, and by the last that was good when the file is not.
func TestAuthorityFileIsReadAgain(t *testing.T) {
	first, second := authority.New(t, "first"), authority.New(t, "second")
	file := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(file, first.PEM, 0o600))
	s := startCertified(t, first)
	client := newClient(t, sdk.Config{Address: s.URL, Token: "t", CACert: file, Retries: -1})
	read := func() error {
		_, err := client.Get(t.Context(), "a/b")
		return err
	}
	must(t, read())
	s.renew(t, second)
	if err := read(); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("a server of another authority: %v", err)
	}
	must(t, os.WriteFile(file, second.PEM, 0o600))
	must(t, read())
	_, err := client.Put(t.Context(), "a/b", sdk.PutRequest{Value: []byte("v")})
	must(t, err)

	for name, content := range map[string]string{"nothing": "", "garbage": "x"} {
		must(t, os.WriteFile(file, []byte(content), 0o600))
		s.CloseClientConnections()
		if err := read(); err != nil {
			t.Errorf("%s in the file: %v", name, err)
		}
		s.renew(t, first)
		if err := read(); sdk.CodeOf(err) != sdk.CodeUnavailable {
			t.Errorf("%s in the file, and a server of another authority: %v", name, err)
		}
		s.renew(t, second)
	}
	must(t, os.Remove(file))
	s.CloseClientConnections()
	must(t, read())
}

// A write is sent whole when its first connection found a server of the new authority.
func TestAWriteFollowsTheAuthority(t *testing.T) {
	first, second := authority.New(t, "first"), authority.New(t, "second")
	file := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(file, first.PEM, 0o600))
	s := startCertified(t, second)
	client := newClient(t, sdk.Config{Address: s.URL, Token: "t", CACert: file, Retries: -1})
	must(t, os.WriteFile(file, second.PEM, 0o600))
	var all sync.WaitGroup
	for range 20 { // who finds the file read by another goes by it too
		all.Go(func() {
			if _, err := client.Put(t.Context(), "a/b", sdk.PutRequest{Value: []byte("v")}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}
