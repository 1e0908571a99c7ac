package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coffer-vault/coffer/hack/local/internal/alive"
	"github.com/coffer-vault/coffer/hack/local/internal/cluster"
	"github.com/coffer-vault/coffer/hack/local/internal/debian"
	"github.com/coffer-vault/coffer/hack/local/internal/layout"
	"github.com/coffer-vault/coffer/hack/local/internal/toolchain"
)

// startControlPlane starts an environment without a node: all its programs are processes of this machine, and Coffer
// is one of them.
func (e *Environment) startControlPlane(ctx context.Context) (*layout.State, error) {
	if err := debian.Ensure(ctx, e.Step, debian.Servers()); err != nil {
		return nil, err
	}
	tools, err := e.Cache.Ensure(ctx, append(toolchain.Envtest(), toolchain.ControllerManager())...)
	if err != nil {
		return nil, err
	}
	if err := e.linkKubectl(tools); err != nil {
		return nil, err
	}
	state, err := cluster.ControlPlaneState()
	if err != nil {
		return nil, err
	}
	if err := newSecrets(state); err != nil {
		return nil, err
	}
	tools[cluster.Manager] = filepath.Join(e.Layout.Bin(), "manager")
	err = e.Step.Do("starting the control plane", func() error {
		if err := e.prepareControlPlane(ctx, state, tools); err != nil {
			return err
		}
		if err := e.spawnSupervisor(state); err != nil {
			return err
		}
		if err := e.awaitServices(ctx, state); err != nil {
			return err
		}
		state.Started = true
		return e.Layout.Save(state)
	})
	if err != nil {
		return nil, err
	}
	return state, nil
}

func (e *Environment) prepareControlPlane(ctx context.Context, state *layout.State, tools map[string]string) error {
	node := e.Layout.Node()
	for _, dir := range []string{e.Layout.Logs(), filepath.Join(node, "redis"), filepath.Join(node, "postgres")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the cluster's folder: %w", err)
		}
	}
	c := &cluster.Cluster{State: state, Base: node}
	if err := c.WriteCredentials(node, e.Layout.Kubeconfig()); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(node, "root-key"), []byte(state.RootKey), 0o400); err != nil {
		return fmt.Errorf("writing Coffer's root key: %w", err)
	}
	// A folder of its own, with a short name: a socket's path may not be longer than 103 bytes (on macOS).
	sockets, err := os.MkdirTemp("", "coffer-")
	if err != nil {
		return fmt.Errorf("making a folder for the supervisor's socket: %w", err)
	}
	state.ControlSocket = filepath.Join(sockets, "supervisor")
	if err := e.Layout.Save(state); err != nil {
		return err
	}
	p := plan{State: state, Base: node, Tools: tools, Socket: state.ControlSocket}
	if err := p.write(filepath.Join(node, planFile)); err != nil {
		return err
	}
	return c.PostgresCluster().Init(ctx)
}

// spawnSupervisor starts this program anew as the supervisor, which outlives the caller.
func (e *Environment) spawnSupervisor(state *layout.State) error {
	// Not by the name it was started by: "go run" removes that file.
	program := filepath.Join(e.Layout.Bin(), "local")
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if err := copyProgram(self, program); err != nil {
		return err
	}
	lock, err := alive.Lock(e.Layout.Alive())
	if err != nil {
		return err
	}
	defer lock.Close() // the child has a descriptor of the same lock
	log, err := os.OpenFile(filepath.Join(e.Layout.Node(), "node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the supervisor's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(program, SuperviseCommand, filepath.Join(e.Layout.Node(), planFile))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	state.Pid = cmd.Process.Pid
	return errors.Join(e.Layout.Save(state), cmd.Process.Release())
}

// endControlPlane stops the supervisor, and with it all that it started.
func (e *Environment) endControlPlane(ctx context.Context, state *layout.State) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if e.Running() && state.Pid > 0 {
		if err := syscall.Kill(state.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stopping the supervisor: %w", err)
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for e.Running() || e.guarded() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the environment (process %d) does not stop: %w", state.Pid, ctx.Err())
		}
	}
	return os.RemoveAll(filepath.Dir(state.ControlSocket))
}

// guarded reports whether the supervisor's watchdog still has work to do: it removes the folder of logs and process ids
// last.
func (e *Environment) guarded() bool {
	ids, err := filepath.Glob(filepath.Join(e.Layout.Logs(), "*.pid"))
	return err == nil && len(ids) > 0
}

// installProcess brings Coffer of this checkout up as a process of this machine.
func (e *Environment) installProcess(ctx context.Context, state *layout.State) error {
	apply := []string{"apply", "--server-side", "--force-conflicts", "--field-manager=coffer-local"}
	for _, args := range [][]string{
		append(apply, "-k", "config/crd"),
		append(apply, "-f", "config/manager/namespace.yaml"),
		{"wait", "--for=condition=Established", "--timeout=60s", "crd/vaultpolicies.vault.coffer.dev", "crd/vaultsecrets.vault.coffer.dev", "crd/clustervaultsecrets.vault.coffer.dev", "crd/vaultrotations.vault.coffer.dev"},
		append(apply, "-k", "config/samples/admin"),
	} {
		if _, err := e.kubectl(ctx, "", args...); err != nil {
			return err
		}
	}
	client, err := e.Services()
	if err != nil {
		return err
	}
	if err := client.Stop(ctx, cluster.Manager); err != nil {
		return err
	}
	if err := e.buildProgram(ctx, "./cmd/manager", filepath.Join(e.Layout.Bin(), "manager"), ""); err != nil {
		return err
	}
	if err := client.Start(ctx, cluster.Manager); err != nil {
		return err
	}
	state.Ready = true
	return e.Layout.Save(state)
}
