package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sethvargo/go-retry"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The pauses between attempts to open the vault, with which a database that comes
// back is noticed soon and one that stays away is not worn out.
const (
	firstPause  = 500 * time.Millisecond
	longestWait = 15 * time.Second
)

// openWhenThere opens the vault, and waits while Postgres or a remote root key cannot
// be reached: a restart would not bring them back. Meanwhile it answers the probes at
// address: alive, and not ready. Any other error, such as a wrong root key, ends it at
// once.
func openWhenThere(ctx context.Context, address string, logger *slog.Logger, open func(context.Context) (*vault.Engine, func(), error)) (engine *vault.Engine, closeEngine func(), err error) {
	if engine, closeEngine, err = open(ctx); !worthWaiting(ctx, err) {
		return engine, closeEngine, err
	}
	stop, err := serveWaitingProbes(ctx, address, err)
	if err != nil {
		return nil, nil, err
	}
	defer stop()
	pauses := retry.WithJitterPercent(20, retry.WithCappedDuration(longestWait, retry.NewExponential(firstPause)))
	err = retry.Do(ctx, pauses, func(ctx context.Context) error {
		engine, closeEngine, err = open(ctx)
		if worthWaiting(ctx, err) {
			logger.WarnContext(ctx, "the vault cannot be opened yet; trying again", "error", err)
			return retry.RetryableError(err)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	logger.InfoContext(ctx, "the vault is open")
	return engine, closeEngine, nil
}

func worthWaiting(ctx context.Context, err error) bool {
	return ctx.Err() == nil && (errors.Is(err, secret.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded))
}

// serveWaitingProbes answers probes until the returned function is called, which
// leaves the address free for the manager.
func serveWaitingProbes(ctx context.Context, address string, reason error) (func(), error) {
	if address == "" || address == "0" {
		return func() {}, nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the vault is not open yet: "+reason.Error(), http.StatusServiceUnavailable)
	})
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the probes (--health-probe-bind-address): %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: apiTimeouts.read, WriteTimeout: apiTimeouts.write, IdleTimeout: apiTimeouts.idle}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	return func() {
		_ = server.Close()
		<-done
	}, nil
}
