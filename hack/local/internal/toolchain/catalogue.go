package toolchain

// The folders of the modules that pin the programs.
const (
	controlPlane = "hack/controlplane"
	node         = "hack/node"
	clusterDNS   = "hack/clusterdns"
)

// kubernetesVersion are the variables by which a Kubernetes program knows its version; without them it claims v0.0.0.
var kubernetesVersion = []string{
	"k8s.io/component-base/version.gitVersion={version}",
	"k8s.io/component-base/version.gitMajor={major}",
	"k8s.io/component-base/version.gitMinor={minor}",
}

func kubernetes(name string) Tool {
	return Tool{
		Name: name, Module: controlPlane, Source: "k8s.io/kubernetes",
		Package: "k8s.io/kubernetes/cmd/" + name, Version: kubernetesVersion,
	}
}

func containerd(name string) Tool {
	return Tool{
		Name: name, Module: node, Source: "github.com/containerd/containerd/v2",
		Package: "github.com/containerd/containerd/v2/cmd/" + name,
		// Snapshotters that want C libraries and that nothing here uses.
		Tags:    []string{"no_btrfs", "no_zfs", "no_devmapper"},
		Version: []string{"github.com/containerd/containerd/v2/version.Version={version}"},
	}
}

// Envtest are the programs an envtest control plane consists of.
func Envtest() []Tool {
	return []Tool{
		kubernetes("kube-apiserver"),
		{
			Name: "etcd", Module: controlPlane, Source: "go.etcd.io/etcd/server/v3",
			Package: "go.etcd.io/etcd/server/v3",
		},
		kubernetes("kubectl"),
	}
}

// Node are the programs that, with those of Envtest, make a cluster with a node.
func Node() []Tool {
	return []Tool{
		ControllerManager(),
		kubernetes("kube-scheduler"),
		kubernetes("kubelet"),
		kubernetes("kube-proxy"),
		containerd("containerd"),
		containerd("containerd-shim-runc-v2"),
		containerd("ctr"),
		{
			Name: "runc", Module: node, Source: "github.com/opencontainers/runc",
			Package: "github.com/opencontainers/runc", Tags: []string{"seccomp"}, Cgo: true,
		},
		{
			Name: "coredns", Module: clusterDNS, Source: "github.com/coredns/coredns",
			Package: "github.com/coffer-vault/coffer/hack/clusterdns",
		},
	}
}

// ControllerManager is what, with the programs of Envtest, makes a control plane that works: it makes the service
// accounts' tokens and collects what nobody owns.
func ControllerManager() Tool { return kubernetes("kube-controller-manager") }
