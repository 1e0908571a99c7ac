package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	readHeaderTimeout = 5 * time.Second
	shutdownTimeout   = 15 * time.Second
	// drainDelay is how long a stopping server goes on accepting connections while
	// it says that it is not ready: the time Services take to stop sending it new
	// ones. Together with shutdownTimeout it stays below the grace period of the pod.
	drainDelay     = 5 * time.Second
	maxHeaderBytes = 64 << 10
)

// timeouts bound what a slow or idle client can hold. Handlers have their own, shorter
// deadline.
type timeouts struct{ header, read, write, idle time.Duration }

var apiTimeouts = timeouts{header: readHeaderTimeout, read: 30 * time.Second, write: 60 * time.Second, idle: 2 * time.Minute}

// apiServer serves the API over TLS. It is a manager.Runnable that runs on every
// replica, leader or not.
type apiServer struct {
	handler        http.Handler
	getCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	listener       net.Listener
	logger         *slog.Logger
	// timeouts is apiTimeouts, and drain drainDelay, but in tests.
	timeouts timeouts
	drain    time.Duration
	// ending, when not nil, is closed when nothing new comes any more, so that answers
	// without an end do not hold up the stop.
	ending chan struct{}

	serving atomic.Bool
}

var errNotServing = errors.New("the API is not served: the server starts or stops")

// ready is the readiness check: a pod gets requests only while it serves them.
func (s *apiServer) ready(*http.Request) error {
	if !s.serving.Load() {
		return errNotServing
	}
	return nil
}

func listenAPI(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the API (--api-bind-address): %w", err)
	}
	return listener, nil
}

// NeedLeaderElection is false: every replica serves.
func (*apiServer) NeedLeaderElection() bool { return false }

// Start serves until ctx ends, then lets requests under way finish.
func (s *apiServer) Start(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.handler,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.getCertificate},
		ReadHeaderTimeout: s.timeouts.header,
		ReadTimeout:       s.timeouts.read,
		WriteTimeout:      s.timeouts.write,
		IdleTimeout:       s.timeouts.idle,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	if s.ending != nil {
		server.RegisterOnShutdown(func() { close(s.ending) })
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(s.listener, "", "") }()
	s.serving.Store(true)
	defer s.serving.Store(false)
	select {
	case err := <-served:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	s.serving.Store(false)
	select {
	case err := <-served:
		return fmt.Errorf("serve the API: %w", err)
	case <-time.After(s.drain):
	}
	shutdownCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(shutdownCtx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("stop the API: %w", err)
	}
	return nil
}
