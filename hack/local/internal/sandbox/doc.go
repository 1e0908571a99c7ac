// Package sandbox gives the local node namespaces of its own: of mounts, processes, network, host name and IPC.
//
// A node changes the machine it runs on: it mounts volumes, makes network interfaces, writes firewall rules and kernel
// settings, starts processes that outlive their parents, and has paths such as /run/containerd and /var/lib/kubelet
// built in. In namespaces all that is private, and gone when the first process of the namespace is: nothing has to be
// undone one by one, not even after a kill -9. What is left outside is one network cable (a veth pair, which goes with
// its other end) and the control groups of the containers, which Stop removes.
//
// Inside:
//
//	/run                a fresh tmpfs: containerd's and the CNI plugins' state
//	/run/coffer         the node's folder in the checkout
//	/run/coffer-tools   the cache of built programs
//	/var/lib            a fresh tmpfs, with kubelet's folder of the node's folder at /var/lib/kubelet
//	/var/log            a fresh tmpfs
package sandbox

// Paths inside the namespaces. They are short: a Unix socket's path may not be longer than 107 bytes.
const (
	// Base is the node's folder.
	Base = "/run/coffer"
	// Tools is the cache of built programs.
	Tools = "/run/coffer-tools"
	// ControlSocket is where the supervisor listens.
	ControlSocket = "/run/supervisor.sock"
)

// Network between this machine and the node. The addresses are of the blocks Kubernetes installations use by custom.
const (
	// Link is this machine's end of the cable to the node.
	Link = "coffer0"
	// Uplink is the node's end.
	Uplink = "uplink0"
	// HostAddress and NodeAddress are the addresses of the two ends.
	HostAddress = "10.244.255.1"
	NodeAddress = "10.244.255.2"
	// LinkPrefix is the length of the prefix the two ends share.
	LinkPrefix = "/30"
	// PodNetwork and ServiceNetwork are reached through the node.
	PodNetwork     = "10.244.0.0/24"
	ServiceNetwork = "10.96.0.0/16"
)
