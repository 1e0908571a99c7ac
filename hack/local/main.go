// Command local runs Coffer's local environment: a Kubernetes cluster with one node, Postgres, Redis and Coffer, on this
// machine, from this checkout. The Makefile's targets call it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// An interrupt stops what is going on; a second one, this program.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := newCommand().ExecuteContext(ctx)
	if err == nil {
		return
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(1)
}
