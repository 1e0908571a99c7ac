package app

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// TestAPIIsReadyOnlyWhileItServes: a pod must not get requests before the server
// runs, nor after it was told to stop, while connections still under way are
// answered.
func TestAPIIsReadyOnlyWhileItServes(t *testing.T) {
	listener, err := listenAPI(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &apiServer{
		handler: http.NotFoundHandler(), listener: listener, logger: slog.New(slog.DiscardHandler), drain: 50 * time.Millisecond,
		getCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errNotServing },
	}
	if server.ready(nil) == nil {
		t.Error("ready before it serves")
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- server.Start(ctx) }()
	eventually(t, "the server to be ready", stopped, func() error { return server.ready(nil) })
	cancel()
	eventually(t, "the server to be not ready", nil, func() error {
		if server.ready(nil) == nil {
			return context.DeadlineExceeded
		}
		return nil
	})
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestAnswersWithoutAnEndDoNotHoldUpTheStop: they are told when nothing new comes any
// more, and not before.
func TestAnswersWithoutAnEndDoNotHoldUpTheStop(t *testing.T) {
	ending, began := make(chan struct{}), make(chan struct{})
	var drained atomic.Bool
	conn := dialAPI(t, &apiServer{
		handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			close(began)
			<-ending
			drained.Store(true)
		}),
		timeouts: apiTimeouts, ending: ending,
	})
	if _, err := io.WriteString(conn.conn, "GET / HTTP/1.1\r\nHost: coffer\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-began
	begin := time.Now()
	conn.stop()
	if took := time.Since(begin); took > shutdownTimeout/2 || !drained.Load() {
		t.Errorf("it took %v to stop; drained: %v", took, drained.Load())
	}
}
