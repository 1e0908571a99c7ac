package environment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coffer-vault/coffer/hack/local/internal/cluster"
	"github.com/coffer-vault/coffer/hack/local/internal/layout"
	"github.com/coffer-vault/coffer/hack/local/internal/supervise"
	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// planFile is where, in the cluster's folder, the supervisor finds its plan.
const planFile = "plan.json"

// plan is what the supervisor is to run. All paths are as the supervisor sees them.
type plan struct {
	State  *layout.State
	Base   string
	Tools  map[string]string
	Socket string
}

// write saves the plan; it holds passwords.
func (p plan) write(file string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding the supervisor's plan: %w", err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("writing the supervisor's plan: %w", err)
	}
	return nil
}

// RunSupervisor runs the programs of the plan in a file, until this process is told to end.
func RunSupervisor(file string) (err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the supervisor's plan: %w", err)
	}
	var p plan
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("reading the supervisor's plan: %w", err)
	}
	c := &cluster.Cluster{State: p.State, Base: p.Base, Tools: p.Tools}
	logs := filepath.Join(p.Base, "run")
	if p.State.Mode == layout.ModeControlPlane { // in a sandbox the kernel does this
		guard, err := process.NewGuard(logs, "TERM")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, guard.Release()) }()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := supervise.New(logs, slog.New(slog.NewTextHandler(os.Stderr, nil)), c.Services())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, p.Socket) }()
	err = s.Run(ctx)
	return errors.Join(err, <-served)
}

// restartServices starts again the programs that somebody stopped or that ended, and waits for all.
func (e *Environment) restartServices(ctx context.Context, state *layout.State) error {
	client := supervise.NewClient(state.ControlSocket)
	all, err := client.Status(ctx)
	if err != nil {
		return err
	}
	for _, status := range all {
		if status.State != supervise.Stopped && status.State != supervise.Failed {
			continue
		}
		if err := e.Step.Do("starting "+status.Name+" again", func() error { return client.Start(ctx, status.Name) }); err != nil {
			return fmt.Errorf("%w; make down, then make up, begins anew", err)
		}
	}
	return e.awaitServices(ctx, state)
}

// awaitServices waits until all programs do their work, and says which does not.
func (e *Environment) awaitServices(ctx context.Context, state *layout.State) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	client := supervise.NewClient(state.ControlSocket)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := client.Status(ctx)
		waiting, failure := summary(all)
		if err == nil && failure != nil {
			return failure
		}
		if err == nil && len(waiting) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the cluster does not become ready (waiting for %s; logs in %s): %w",
				strings.Join(waiting, ", "), e.Layout.Logs(), errors.Join(err, ctx.Err()))
		}
		if !e.Running() {
			return fmt.Errorf("the cluster ended while it started: see %s", filepath.Join(e.Layout.Node(), "node.log"))
		}
	}
}

// summary names the services that are not ready yet, and the first that never will be.
func summary(all []supervise.Status) (waiting []string, failure error) {
	for _, status := range all {
		switch status.State {
		case supervise.Running, supervise.Stopped: // stopped by request: not waited for
		case supervise.Failed:
			return nil, fmt.Errorf("%s failed: %s", status.Name, status.Message)
		default:
			waiting = append(waiting, status.Name)
		}
	}
	return waiting, nil
}
