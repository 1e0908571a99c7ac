package environment

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/coffer-vault/coffer/hack/local/internal/cluster"
	"github.com/coffer-vault/coffer/hack/local/internal/layout"
	"github.com/coffer-vault/coffer/hack/local/internal/sandbox"
	"github.com/coffer-vault/coffer/hack/local/internal/toolchain"
)

// Commands by which this program runs itself: as the sandbox's first process, and as the supervisor (with the name of
// its plan as argument).
const (
	InitCommand      = "node-init"
	SuperviseCommand = "supervise"
)

// cniPlugins are those the node's network configuration names; Debian keeps them here.
const cniDirectory = "/usr/lib/cni"

var cniPlugins = []string{"ptp", "host-local", "loopback"}

// startNode builds what is missing, configures a cluster with a node and starts it.
func (e *Environment) startNode(ctx context.Context) (*layout.State, error) {
	tools, err := e.Cache.Ensure(ctx, append(toolchain.Envtest(), toolchain.Node()...)...)
	if err != nil {
		return nil, err
	}
	if err := e.linkKubectl(tools); err != nil {
		return nil, err
	}
	state := cluster.NodeState()
	if err := newSecrets(state); err != nil {
		return nil, err
	}
	err = e.Step.Do("starting the cluster", func() error {
		c := &cluster.Cluster{State: state, Base: sandbox.Base}
		if err := e.prepareNode(ctx, c, tools); err != nil {
			return err
		}
		sandbox.LoadModules(ctx)
		if state.Pid, err = sandbox.Start(ctx, e.sandbox()); err != nil {
			return err
		}
		// As this machine sees the socket: through the view of the sandbox's first process.
		state.ControlSocket = fmt.Sprintf("/proc/%d/root%s", state.Pid, sandbox.ControlSocket)
		if err := e.Layout.Save(state); err != nil {
			return err
		}
		if err := e.awaitServices(ctx, state); err != nil {
			return err
		}
		if _, err := e.kubectl(ctx, "", "apply", "-f", filepath.Join(e.Layout.Node(), "cluster-roles.yaml")); err != nil {
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

func (e *Environment) sandbox() sandbox.Config {
	return sandbox.Config{
		Node: e.Layout.Node(), Cache: e.Cache.Dir, Alive: e.Layout.Alive(), Init: []string{InitCommand},
	}
}

// newSecrets makes the passwords and keys of a new environment.
func newSecrets(state *layout.State) error {
	state.PostgresPassword, state.RedisPassword = rand.Text(), rand.Text()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("making Coffer's root key: %w", err)
	}
	state.RootKey = "current: " + base64.StdEncoding.EncodeToString(key) + "\n"
	return nil
}

// prepareNode fills the node's folder.
func (e *Environment) prepareNode(ctx context.Context, c *cluster.Cluster, tools map[string]string) error {
	node := e.Layout.Node()
	for _, dir := range []string{node, filepath.Join(node, "run"), filepath.Join(node, "redis"), filepath.Join(node, "postgres")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the node's folder: %w", err)
		}
	}
	if err := e.Layout.Save(c.State); err != nil {
		return err
	}
	if err := c.WriteCredentials(node, e.Layout.Kubeconfig()); err != nil {
		return err
	}
	if err := c.WriteConfiguration(node, snapshotter(node)); err != nil {
		return err
	}
	for _, plugin := range cniPlugins {
		if err := copyProgram(filepath.Join(cniDirectory, plugin), filepath.Join(node, "cni/bin", plugin)); err != nil {
			return err
		}
	}
	inside := e.insideTools(tools)
	plan := plan{State: c.State, Base: sandbox.Base, Tools: inside, Socket: sandbox.ControlSocket}
	if err := plan.write(filepath.Join(node, planFile)); err != nil {
		return err
	}
	for name, file := range inside {
		if err := os.Symlink(file, filepath.Join(node, "bin", name)); err != nil {
			return fmt.Errorf("linking the node's programs: %w", err)
		}
	}
	// initdb runs outside: the folder's real path must do for both views, so the data is made where it is.
	server := c.PostgresCluster()
	server.Dir = filepath.Join(node, "postgres")
	return server.Init(ctx)
}

// insideTools are the files of tools as the sandbox sees them.
func (e *Environment) insideTools(tools map[string]string) map[string]string {
	inside := make(map[string]string, len(tools))
	for name, file := range tools {
		inside[name] = filepath.Join(sandbox.Tools, strings.TrimPrefix(file, e.Cache.Dir))
	}
	return inside
}

// linkKubectl puts kubectl where the environment's PATH finds it.
func (e *Environment) linkKubectl(tools map[string]string) error {
	if err := os.MkdirAll(e.Layout.Bin(), 0o755); err != nil {
		return fmt.Errorf("making a folder for programs: %w", err)
	}
	return replaceLink(tools["kubectl"], filepath.Join(e.Layout.Bin(), "kubectl"))
}

func replaceLink(target, link string) error {
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replacing %s: %w", link, err)
	}
	if err := os.Symlink(target, link); err != nil {
		return fmt.Errorf("linking %s: %w", link, err)
	}
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return fmt.Errorf("copying %s: %w", from, err)
	}
	return out.Close()
}

// RunInit is what the sandbox's first process does.
func RunInit() error {
	return sandbox.Init([]string{SuperviseCommand, filepath.Join(sandbox.Base, planFile)})
}
