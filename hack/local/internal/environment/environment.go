// Package environment starts and stops the local environment: a cluster, Postgres, Redis, and Coffer in it.
package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/coffer-vault/coffer/hack/local/internal/alive"
	"github.com/coffer-vault/coffer/hack/local/internal/debian"
	"github.com/coffer-vault/coffer/hack/local/internal/layout"
	"github.com/coffer-vault/coffer/hack/local/internal/leftovers"
	"github.com/coffer-vault/coffer/hack/local/internal/sandbox"
	"github.com/coffer-vault/coffer/hack/local/internal/step"
	"github.com/coffer-vault/coffer/hack/local/internal/supervise"
	"github.com/coffer-vault/coffer/hack/local/internal/toolchain"
)

// Environment is the local environment of one checkout.
type Environment struct {
	Layout layout.Layout
	Step   *step.Reporter
	Cache  *toolchain.Cache
}

// New is the environment of the checkout the working directory is in.
func New(report *step.Reporter) (*Environment, error) {
	l, err := layout.Find()
	if err != nil {
		return nil, err
	}
	dir, err := toolchain.DefaultDir()
	if err != nil {
		return nil, err
	}
	return &Environment{
		Layout: l, Step: report, Cache: &toolchain.Cache{Dir: dir, Root: l.Root, Step: report},
	}, nil
}

// Up starts what does not run yet and returns once Coffer answers.
func (e *Environment) Up(ctx context.Context) error {
	state, err := e.startCluster(ctx)
	if err != nil {
		return err
	}
	if err := e.install(ctx, state); err != nil {
		return err
	}
	variables, err := e.variables(ctx, state)
	if err != nil {
		return err
	}
	return e.Layout.WriteEnv(variables)
}

// Command is a program that uses the running environment: it gets the variables of the environment file, and is looked
// for among the environment's own programs first.
func (e *Environment) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if own := filepath.Join(e.Layout.Bin(), program); executable(own) {
		program = own
	}
	// The file is a shell script, and the shell is the one to read it.
	script := `. "$0" && exec "$@"`
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, e.Layout.EnvFile(), program}, args...)...)
	cmd.Dir = e.Layout.Root
	return cmd
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// startCluster returns the running cluster's state, after starting it if need be.
func (e *Environment) startCluster(ctx context.Context) (*layout.State, error) {
	if state, err := e.Layout.LoadState(); err == nil && e.Running() && state.Started {
		e.Step.Say("the local environment runs already")
		return state, e.restartServices(ctx, state)
	}
	if err := e.clearLeftovers(ctx); err != nil {
		return nil, err
	}
	if reason := NodeImpossible(); reason != "" {
		e.Step.Say("%s: running the control plane alone, with Coffer as a process of this machine and no pods", reason)
		return e.startControlPlane(ctx)
	}
	if err := debian.Ensure(ctx, e.Step, append(debian.Servers(), debian.Node()...)); err != nil {
		return nil, err
	}
	return e.startNode(ctx)
}

// noNodeVariable asks for an environment without a node where one could run.
const noNodeVariable = "COFFER_NO_NODE"

// NodeImpossible says why this machine cannot run a node; empty if it can.
func NodeImpossible() string {
	switch {
	case os.Getenv(noNodeVariable) != "":
		return noNodeVariable + " is set"
	case runtime.GOOS != "linux":
		return "a node needs Linux, and this is " + runtime.GOOS
	case os.Geteuid() != 0:
		return "a node needs root"
	}
	return ""
}

// Running reports whether the environment's programs run.
func (e *Environment) Running() bool { return alive.Held(e.Layout.Alive()) }

// State of the running environment.
func (e *Environment) State() (*layout.State, error) {
	if !e.Running() {
		return nil, layout.ErrNoState
	}
	return e.Layout.LoadState()
}

// Services is the way to the single programs of the running environment.
func (e *Environment) Services() (*supervise.Client, error) {
	state, err := e.State()
	if err != nil {
		return nil, err
	}
	return supervise.NewClient(state.ControlSocket), nil
}

// Down stops everything and removes what it left. It is content with an environment that never started or was killed,
// and not content when something of it is still there afterwards.
func (e *Environment) Down(ctx context.Context) error {
	return e.Step.Do("stopping the local environment", func() error {
		if err := e.clearLeftovers(ctx); err != nil {
			return err
		}
		found, err := leftovers.Machine{Root: "/"}.Find(e.Layout.Node(), sandbox.Link)
		if err != nil || len(found) == 0 {
			return err
		}
		return fmt.Errorf("still there: %s", strings.Join(found, ", "))
	})
}

// clearLeftovers ends and removes whatever is there of an environment of this checkout.
func (e *Environment) clearLeftovers(ctx context.Context) error {
	state, err := e.Layout.LoadState()
	switch {
	case errors.Is(err, layout.ErrNoState):
		state = &layout.State{Mode: layout.ModeNode}
	case err != nil:
		e.Step.Say("%v", err)
		state = &layout.State{Mode: layout.ModeNode}
	}
	if err := e.end(ctx, state); err != nil {
		return err
	}
	if err := e.Layout.Forget(); err != nil {
		return fmt.Errorf("removing what the environment left: %w", err)
	}
	return nil
}

func (e *Environment) end(ctx context.Context, state *layout.State) error {
	if state.Mode == layout.ModeControlPlane {
		return e.endControlPlane(ctx, state)
	}
	return sandbox.Stop(ctx, state.Pid, e.sandbox())
}
