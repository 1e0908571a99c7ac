// Package cluster describes the programs of the local cluster: their certificates, configuration and command lines.
package cluster

import (
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/coffer-vault/coffer/hack/local/internal/layout"
	"github.com/coffer-vault/coffer/hack/local/internal/sandbox"
	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// Names of the services, which are also the keys of layout.State.Ports.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Containerd        = "containerd"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	DNS               = "coredns"
	Postgres          = "postgres"
	Redis             = "redis"
	etcdPeer          = "etcd-peer"
	// Manager is Coffer, where it is a process of this machine; ManagerAPI and ManagerMetrics key its further ports.
	Manager        = "manager"
	ManagerAPI     = "manager-api"
	ManagerMetrics = "manager-metrics"
)

// The first addresses of sandbox.ServiceNetwork: Kubernetes takes the first for itself.
const (
	kubernetesServiceIP = "10.96.0.1"
	// CofferServiceIP is given to Coffer's Service, for this machine to reach it by.
	CofferServiceIP = "10.96.0.100"
)

// clusterDomain is where cluster DNS puts services; nodeName is the host name inside the sandbox.
const (
	clusterDomain = "cluster.local"
	nodeName      = "coffer-node"
)

// Cluster is a control plane, and a node if its mode says so.
type Cluster struct {
	State *layout.State
	// Base is the cluster's folder and Tools the files of the built programs by name, both as the programs see them.
	Base  string
	Tools map[string]string
}

// dir is a folder or file of the cluster.
func (c *Cluster) dir(elem ...string) string {
	return filepath.Join(append([]string{c.Base}, elem...)...)
}

func (c *Cluster) hasNode() bool { return c.State.Mode == layout.ModeNode }

func (c *Cluster) port(name string) string { return strconv.Itoa(c.State.Ports[name]) }

// apiServer is the address of the control plane as its own parts use it.
func (c *Cluster) apiServer() string { return "https://" + c.State.Address + ":" + c.port(APIServer) }

// command is one that runs a built tool.
func (c *Cluster) command(tool string, args ...string) func() (*exec.Cmd, error) {
	return func() (*exec.Cmd, error) { return exec.Command(c.Tools[tool], args...), nil }
}

// NodeState is the state of a new environment with a node, but for its passwords. The node's network is its own, so its
// programs have the usual ports.
func NodeState() *layout.State {
	return &layout.State{
		Mode:    layout.ModeNode,
		Address: sandbox.NodeAddress,
		Ports:   map[string]int{Etcd: 2379, etcdPeer: 2380, APIServer: 6443, Postgres: 5432, Redis: 6379},
	}
}

// ControlPlaneState is the state of a new environment without a node, but for its passwords: everything listens on
// loopback, at ports that are free.
func ControlPlaneState() (*layout.State, error) {
	ports := map[string]int{}
	for _, name := range []string{Etcd, etcdPeer, APIServer, ControllerManager, Postgres, Redis, Manager, ManagerAPI, ManagerMetrics} {
		port, err := process.FreePort()
		if err != nil {
			return nil, err
		}
		ports[name] = port
	}
	return &layout.State{Mode: layout.ModeControlPlane, Address: "127.0.0.1", Ports: ports}, nil
}
