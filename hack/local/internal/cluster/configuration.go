package cluster

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/coffer-vault/coffer/hack/local/internal/sandbox"
)

// containerdSocket is where containerd listens, inside the sandbox.
const containerdSocket = "/run/containerd/containerd.sock"

//go:embed files
var files embed.FS

// configurations are the templates in files and where, below the cluster's folder, each goes.
var configurations = map[string]string{
	"containerd.toml":    "containerd.toml",
	"kubelet.yaml":       "kubelet.yaml",
	"kube-proxy.yaml":    "kube-proxy.yaml",
	"Corefile":           "Corefile",
	"network.conflist":   "cni/conf/10-coffer.conflist",
	"resolv.conf":        "resolv.conf",
	"cluster-roles.yaml": "cluster-roles.yaml",
}

// values are what the templates may use.
type values struct {
	Base, Address, NodeName, ClusterDomain     string
	PodNetwork, ServiceNetwork                 string
	ContainerdSocket, Snapshotter, Runc, Pause string
}

// PauseImage is the image whose process holds a pod's namespaces.
const PauseImage = "coffer.local/pause:dev"

// WriteConfiguration writes the configuration files of a node into the folder node, which its programs see as c.Base,
// and makes the folders they need.
func (c *Cluster) WriteConfiguration(node, snapshotter string) error {
	v := values{
		Base: c.Base, Address: c.State.Address, NodeName: nodeName, ClusterDomain: clusterDomain,
		PodNetwork: sandbox.PodNetwork, ServiceNetwork: sandbox.ServiceNetwork,
		ContainerdSocket: containerdSocket, Snapshotter: snapshotter, Runc: c.dir("bin", "runc"), Pause: PauseImage,
	}
	for _, dir := range []string{"kubelet", "pod-logs", "bin", "cni/bin", "cni/conf", "cni/state"} {
		if err := os.MkdirAll(filepath.Join(node, dir), 0o755); err != nil {
			return fmt.Errorf("making the node's folders: %w", err)
		}
	}
	for name, target := range configurations {
		if err := render(name, filepath.Join(node, target), v); err != nil {
			return err
		}
	}
	return nil
}

func render(name, file string, v values) error {
	t, err := template.New(name).Option("missingkey=error").ParseFS(files, "files/"+name)
	if err != nil {
		return fmt.Errorf("reading the template %s: %w", name, err)
	}
	out, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer out.Close()
	if err := t.Execute(out, v); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return out.Close()
}
