package app

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestSlowClientsAreCutOff: one that does not go on with its header or its body, that sends no further request, or that
// does not read what it is sent. Each of these limits is the only one of its test.
func TestSlowClientsAreCutOff(t *testing.T) {
	const short, long = 200 * time.Millisecond, time.Hour
	echo := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}
	for name, test := range map[string]struct {
		timeouts timeouts
		sent     string
		handler  http.HandlerFunc
	}{
		"header":       {timeouts{short, long, long, long}, "GET / HTTP/1.1\r\nHost: coff", echo},
		"body":         {timeouts{long, short, long, long}, "PUT / HTTP/1.1\r\nHost: coffer\r\nContent-Length: 100\r\n\r\nhalf", echo},
		"idle":         {timeouts{long, long, long, short}, "GET / HTTP/1.1\r\nHost: coffer\r\n\r\n", echo},
		"large header": {timeouts{long, long, long, long}, "GET / HTTP/1.1\r\nHost: coffer\r\nX: " + string(make([]byte, 2*maxHeaderBytes)), echo},
		"answer": {timeouts{long, long, short, long}, "GET / HTTP/1.1\r\nHost: coffer\r\n\r\n", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			client := dialServer(t, test.timeouts, test.handler)
			if _, err := io.WriteString(client, test.sent); err != nil && name != "large header" {
				t.Fatal(err)
			}
			// The test's own time limit ends what is not cut off.
			if _, err := io.Copy(io.Discard, bufio.NewReader(client)); err != nil {
				t.Logf("cut off with: %v", err)
			}
		})
	}
}

// dialServer serves handler with these limits, and connects.
func dialServer(t *testing.T, limits timeouts, handler http.Handler) *tls.Conn {
	t.Helper()
	return dialAPI(t, &apiServer{handler: handler, timeouts: limits}).conn
}

// served is a connection to a server that stop ends.
type served struct {
	conn *tls.Conn
	stop func()
}

// dialAPI serves with a certificate of the test's own, and connects.
func dialAPI(t *testing.T, server *apiServer) served {
	t.Helper()
	listener, err := listenAPI(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	defer certified.Close()
	certificate := certified.TLS.Certificates[0]
	server.listener, server.logger = listener, slog.New(slog.DiscardHandler)
	server.getCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil }
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = server.Start(ctx)
	}()
	stop := func() { cancel(); <-stopped }
	t.Cleanup(stop)
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: &tls.Config{RootCAs: certified.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}}
	conn, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return served{conn.(*tls.Conn), stop}
}
