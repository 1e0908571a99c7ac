package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"

	"github.com/coffer-vault/coffer/hack/local/internal/sandbox"
	"github.com/coffer-vault/coffer/hack/local/internal/supervise"
	"github.com/coffer-vault/coffer/internal/testkit/postgres"
	"github.com/coffer-vault/coffer/internal/testkit/redis"
)

// Services are the programs of the cluster.
func (c *Cluster) Services() []supervise.Service {
	services := []supervise.Service{c.postgres(), c.redis(), c.etcd(), c.apiserver(), c.controllerManager()}
	if !c.hasNode() {
		return append(services, c.manager())
	}
	return append(services, c.scheduler(), c.containerd(), c.kubelet(), c.proxy(), c.dns())
}

// CofferRole is the database role of Coffer, beside the superuser, which owns its tables.
const CofferRole = "coffer"

// PostgresCluster is the database server; its data is worth keeping as long as the environment.
func (c *Cluster) PostgresCluster() postgres.Cluster {
	return postgres.Cluster{
		Dir:       c.dir("postgres"),
		Port:      c.State.Ports[Postgres],
		Listen:    []string{c.State.Address},
		AllowFrom: []string{"10.244.0.0/16"}, // pods and this machine
		Password:  c.State.PostgresPassword,
		Durable:   true,
	}
}

// RedisInstance is the Redis server.
func (c *Cluster) RedisInstance() redis.Instance {
	return redis.Instance{
		Dir: c.dir("redis"), Port: c.State.Ports[Redis], Listen: []string{c.State.Address}, Password: c.State.RedisPassword,
	}
}

func (c *Cluster) postgres() supervise.Service {
	server := c.PostgresCluster()
	return supervise.Service{
		Name: Postgres, Stop: syscall.SIGINT, Command: server.Command, Ready: server.Ping,
	}
}

func (c *Cluster) redis() supervise.Service {
	server := c.RedisInstance()
	return supervise.Service{Name: Redis, Stop: syscall.SIGTERM, Command: server.Command, Ready: server.Ping}
}

func (c *Cluster) etcd() supervise.Service {
	client, peer := "http://127.0.0.1:"+c.port(Etcd), "http://127.0.0.1:"+c.port(etcdPeer)
	return supervise.Service{
		Name: Etcd, Disposable: true, Stop: syscall.SIGTERM,
		Command: c.command("etcd",
			"--data-dir="+c.dir("etcd"), "--name=local",
			"--listen-client-urls="+client, "--advertise-client-urls="+client,
			"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=local="+peer,
			"--unsafe-no-fsync", "--log-level=warn"), // the environment does not outlive this machine's next start
		Ready: get(client+"/health", nil),
	}
}

func (c *Cluster) apiserver() supervise.Service {
	cert := func(name string) string { return c.dir("certs", name) }
	reconciler := "lease"
	if !c.hasNode() { // its address is loopback, which no pod could use; there are no pods
		reconciler = "none"
	}
	return supervise.Service{
		Name: APIServer, Disposable: true, After: []string{Etcd}, Stop: syscall.SIGTERM,
		Command: c.command("kube-apiserver",
			"--etcd-servers=http://127.0.0.1:"+c.port(Etcd),
			"--bind-address="+c.bindAddress(), "--secure-port="+c.port(APIServer), "--advertise-address="+c.State.Address,
			"--endpoint-reconciler-type="+reconciler,
			"--tls-cert-file="+cert("apiserver.crt"), "--tls-private-key-file="+cert("apiserver.key"),
			"--client-ca-file="+cert("ca.crt"),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--anonymous-auth=false",
			"--service-account-issuer=https://kubernetes.default.svc."+clusterDomain,
			"--service-account-key-file="+cert("tokens.pub"), "--service-account-signing-key-file="+cert("tokens.key"),
			"--service-cluster-ip-range="+sandbox.ServiceNetwork,
			"--kubelet-client-certificate="+cert("apiserver-kubelet-client.crt"),
			"--kubelet-client-key="+cert("apiserver-kubelet-client.key"),
			"--kubelet-certificate-authority="+cert("ca.crt"),
			"--kubelet-preferred-address-types=InternalIP",
			"--allow-privileged=true", "--profiling=false",
			// Stops at once: nobody balances load over one API server.
			"--shutdown-delay-duration=0s"),
		Ready: c.apiReady,
	}
}

// bindAddress of the API server: pods reach it through the kubernetes Service at the node's address.
func (c *Cluster) bindAddress() string {
	if c.hasNode() {
		return "0.0.0.0"
	}
	return c.State.Address
}

// apiReady asks the API server's readiness as one of its own parts: anonymous requests are refused.
func (c *Cluster) apiReady(ctx context.Context) error {
	cert, err := tls.LoadX509KeyPair(c.dir("certs", "apiserver-kubelet-client.crt"), c.dir("certs", "apiserver-kubelet-client.key"))
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(c.dir("certs", "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return get(c.apiServer()+"/readyz", &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, MinVersion: tls.VersionTLS13})(ctx)
}

func (c *Cluster) controllerManager() supervise.Service {
	kubeconfig := c.dir(ControllerManager + ".kubeconfig")
	return supervise.Service{
		Name: ControllerManager, Disposable: true, After: []string{APIServer}, Stop: syscall.SIGTERM,
		Command: c.command("kube-controller-manager",
			"--kubeconfig="+kubeconfig, "--leader-elect=false", "--use-service-account-credentials=true",
			"--service-account-private-key-file="+c.dir("certs", "tokens.key"), "--root-ca-file="+c.dir("certs", "ca.crt"),
			"--bind-address=127.0.0.1", "--secure-port=0", "--profiling=false"),
		Ready: always, // it has no port; what it makes is waited for where it is needed
	}
}

func (c *Cluster) scheduler() supervise.Service {
	kubeconfig := c.dir(Scheduler + ".kubeconfig")
	return supervise.Service{
		Name: Scheduler, Disposable: true, After: []string{APIServer}, Stop: syscall.SIGTERM,
		Command: c.command("kube-scheduler",
			"--kubeconfig="+kubeconfig, "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0", "--profiling=false"),
		Ready: always,
	}
}

func (c *Cluster) containerd() supervise.Service {
	return supervise.Service{
		Name: Containerd, Disposable: true, Stop: syscall.SIGTERM,
		Command: func() (*exec.Cmd, error) {
			cmd := exec.Command(c.Tools["containerd"], "--config="+c.dir("containerd.toml"))
			// It looks for its shim and for runc in PATH, under their own names.
			cmd.Env = append(os.Environ(), "PATH="+c.dir("bin")+":"+os.Getenv("PATH"))
			return cmd, nil
		},
		Ready: dial("unix", containerdSocket),
	}
}

func (c *Cluster) kubelet() supervise.Service {
	return supervise.Service{
		Name: Kubelet, Disposable: true, After: []string{APIServer, Containerd}, Stop: syscall.SIGTERM,
		Command: c.command("kubelet",
			"--config="+c.dir("kubelet.yaml"), "--kubeconfig="+c.dir(Kubelet+".kubeconfig"),
			"--node-ip="+c.State.Address, "--hostname-override="+nodeName),
		Ready: get("http://127.0.0.1:10248/healthz", nil),
	}
}

func (c *Cluster) proxy() supervise.Service {
	return supervise.Service{
		Name: Proxy, Disposable: true, After: []string{APIServer}, Stop: syscall.SIGTERM,
		Command: c.command("kube-proxy", "--config="+c.dir("kube-proxy.yaml")),
		Ready:   get("http://127.0.0.1:10256/livez", nil),
	}
}

func (c *Cluster) dns() supervise.Service {
	return supervise.Service{
		Name: DNS, Disposable: true, After: []string{APIServer}, Stop: syscall.SIGTERM,
		Command: c.command("coredns", "-conf", c.dir("Corefile")),
		// Its own readiness waits for its role, which is given once the programs run.
		Ready: dial("tcp", "127.0.0.1:8181"),
	}
}

// manager is Coffer as a process of this machine. It is started when its CRDs are there.
func (c *Cluster) manager() supervise.Service {
	local := func(port string) string { return net.JoinHostPort(c.State.Address, c.port(port)) }
	return supervise.Service{
		Name: Manager, Manual: true, Stop: syscall.SIGTERM,
		Command: func() (*exec.Cmd, error) {
			cmd := exec.Command(c.Tools[Manager],
				"--leader-elect=false", "--root-key-file="+c.dir("root-key"),
				"--api-bind-address="+local(ManagerAPI), "--api-tls-san="+c.State.Address,
				"--metrics-bind-address="+local(ManagerMetrics), "--health-probe-bind-address="+local(Manager))
			cmd.Env = append(os.Environ(), "KUBECONFIG="+c.dir("admin.kubeconfig"), "POD_NAMESPACE=coffer-system",
				"COFFER_DATABASE_URL="+c.PostgresCluster().DSNAs(CofferRole, "postgres"),
				"COFFER_DATABASE_OWNER_URL="+c.PostgresCluster().DSN("postgres"), "COFFER_REDIS_URL="+c.RedisInstance().URL())
			return cmd, nil
		},
		Ready: get("http://"+local(Manager)+"/readyz", nil),
	}
}

func always(context.Context) error { return nil }

// get is ready when the address answers 200.
func get(url string, config *tls.Config) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, resp.Status)
		}
		return nil
	}
}

// dial is ready when the address accepts connections.
func dial(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
