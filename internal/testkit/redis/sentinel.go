package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// MasterName is the name under which a Sentinel here knows its master.
const MasterName = "coffer"

// Sentinel is a master with one replica, and a Sentinel that promotes the replica when the master is gone.
type Sentinel struct {
	Master, Replica *Server

	password string
	port     int
	guard    *process.Guard
	proc     *process.Process
}

// StartSentinel starts all three. The caller must Close them.
func StartSentinel(ctx context.Context) (*Sentinel, error) {
	s := &Sentinel{password: rand.Text()}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sentinel) start(ctx context.Context) (err error) {
	auth := "masterauth " + s.password
	if s.Master, err = StartWith(ctx, Instance{Password: s.password, Config: []string{auth}}); err != nil {
		return err
	}
	master := strconv.Itoa(s.Master.instance.Port)
	s.Replica, err = StartWith(ctx, Instance{Password: s.password, Config: []string{auth, "replicaof 127.0.0.1 " + master, "repl-diskless-sync-delay 0"}})
	if err != nil {
		return err
	}
	return s.watch(ctx, master)
}

// watch starts the Sentinel. It rewrites its configuration, so that is a file.
func (s *Sentinel) watch(ctx context.Context, master string) error {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return ErrNotInstalled
	}
	dir, err := os.MkdirTemp("", "coffer-sentinel-")
	if err != nil {
		return err
	}
	if s.guard, err = process.NewGuard(dir, "TERM"); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	if s.port, err = process.FreePort(); err != nil {
		return err
	}
	monitor := "sentinel %s " + MasterName + " %s"
	config := strings.Join([]string{
		"port " + strconv.Itoa(s.port), "bind 127.0.0.1", "protected-mode no", "dir " + strconv.Quote(dir),
		"sentinel monitor " + MasterName + " 127.0.0.1 " + master + " 1",
		fmt.Sprintf(monitor, "auth-pass", s.password),
		fmt.Sprintf(monitor, "down-after-milliseconds", "500"),
		fmt.Sprintf(monitor, "failover-timeout", "5000"),
	}, "\n") + "\n"
	file := filepath.Join(dir, "sentinel.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	if s.proc, err = process.Start(exec.Command(bin, file, "--sentinel"), dir, "sentinel"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return s.proc.AwaitReady(ctx, s.knowsReplica)
}

// knowsReplica is nil when the Sentinel could promote: it has found a replica that has the master's data.
func (s *Sentinel) knowsReplica(ctx context.Context) error {
	client := goredis.NewSentinelClient(&goredis.Options{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))})
	defer client.Close()
	replicas, err := client.Replicas(ctx, MasterName).Result()
	if err != nil {
		return err
	}
	if len(replicas) != 1 || replicas[0]["flags"] != "slave" || replicas[0]["master-link-status"] != "ok" {
		return fmt.Errorf("the Sentinel knows %d replicas, none that follows yet", len(replicas))
	}
	return nil
}

// URL is the address of the master, by the Sentinel.
func (s *Sentinel) URL() string {
	return fmt.Sprintf("redis+sentinel://:%s@127.0.0.1:%d/%s", s.password, s.port, MasterName)
}

// Close stops all three.
func (s *Sentinel) Close() error {
	var errs []error
	if s.proc != nil {
		errs = append(errs, s.proc.Stop(context.Background(), syscall.SIGTERM))
	}
	if s.guard != nil {
		errs = append(errs, s.guard.Release())
	}
	for _, server := range []*Server{s.Replica, s.Master} {
		if server != nil {
			errs = append(errs, server.Close())
		}
	}
	return errors.Join(errs...)
}

// Cluster is a Redis Cluster of three masters.
type Cluster struct{ Nodes []*Server }

// slots is the number of hash slots of every Redis Cluster.
const slots = 16384

// StartCluster starts one. The caller must Close it.
func StartCluster(ctx context.Context) (*Cluster, error) {
	c := &Cluster{}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	const nodes = 3
	password := rand.Text()
	for i := range nodes {
		bus, err := process.FreePort() // the default, 10000 above the port, may be no port at all
		if err != nil {
			return err
		}
		node, err := StartWith(ctx, Instance{Password: password, Config: []string{
			"cluster-enabled yes", "cluster-port " + strconv.Itoa(bus), "masterauth " + password,
		}})
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
		if err := node.do(ctx, "CLUSTER", "ADDSLOTSRANGE", i*slots/nodes, (i+1)*slots/nodes-1); err != nil {
			return err
		}
		if err := node.do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1); err != nil {
			return err
		}
		if err := c.Nodes[0].do(ctx, "CLUSTER", "MEET", "127.0.0.1", node.instance.Port, bus); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for _, node := range c.Nodes {
		if err := node.proc.AwaitReady(ctx, node.inCluster); err != nil {
			return err
		}
	}
	return nil
}

// URL is the address of the cluster, by two of its nodes.
func (c *Cluster) URL() string {
	return fmt.Sprintf("redis+cluster://:%s@127.0.0.1:%d,127.0.0.1:%d",
		c.Nodes[0].instance.Password, c.Nodes[0].instance.Port, c.Nodes[1].instance.Port)
}

// Close stops the nodes.
func (c *Cluster) Close() error {
	var errs []error
	for _, node := range c.Nodes {
		errs = append(errs, node.Close())
	}
	return errors.Join(errs...)
}

func (s *Server) inCluster(ctx context.Context) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	defer client.Close()
	info, err := client.ClusterInfo(ctx).Result()
	if err == nil && !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
		return errors.New("the cluster is not complete yet")
	}
	return err
}

func (s *Server) client() (*goredis.Client, error) {
	options, err := goredis.ParseURL(s.URL())
	if err != nil {
		return nil, err
	}
	options.DialTimeout = time.Second
	return goredis.NewClient(options), nil
}

// do runs one command.
func (s *Server) do(ctx context.Context, args ...any) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	return errors.Join(client.Do(ctx, args...).Err(), client.Close())
}

// SetPassword changes what clients must give. Those that have logged in stay.
func (s *Server) SetPassword(ctx context.Context, password string) error {
	if err := s.do(ctx, "CONFIG", "SET", "requirepass", password); err != nil {
		return err
	}
	s.instance.Password = password
	return nil
}
