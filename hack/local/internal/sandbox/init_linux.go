package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// nodeName is the host name inside, which the kubelet takes for the node's.
const nodeName = "coffer-node"

// Init is what the first process of the sandbox does: it arranges the namespaces, starts this program again with the
// arguments main, and collects the orphans of the sandbox until that child ends.
func Init(main []string) error {
	node, cache := os.Getenv(nodeVariable), os.Getenv(cacheVariable)
	if os.Getpid() != 1 || node == "" {
		return errors.New("this command is for the inside of the local node: make up starts it")
	}
	if err := mounts(node, cache); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(nodeName)); err != nil {
		return fmt.Errorf("naming the node: %w", err)
	}
	// The cable is there when the pipe's other end is closed.
	if _, err := io.Copy(io.Discard, os.NewFile(wiredDescriptor, "wired")); err != nil {
		return fmt.Errorf("waiting for the network: %w", err)
	}
	if err := network(context.Background()); err != nil {
		return err
	}
	unix.CloseOnExec(aliveDescriptor) // the lock is to live exactly as long as this process
	return superviseChild(main)
}

// mounts gives the sandbox its own view of the file system (drawn in the package's comment).
func mounts(node, cache string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	// What may lie below the folders that are covered next is taken to a place that is not, before it is hidden.
	stage, err := os.MkdirTemp("", "coffer-node-")
	if err != nil {
		return fmt.Errorf("making a mount point: %w", err)
	}
	if err := unix.Mount("tmpfs", stage, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting a tmpfs: %w", err)
	}
	for _, bind := range []struct{ source, name string }{
		{node, filepath.Base(Base)}, {cache, filepath.Base(Tools)},
	} {
		target := filepath.Join(stage, bind.name)
		if err := bindTo(bind.source, target); err != nil {
			return err
		}
	}
	if err := unix.Mount(stage, "/run", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("mounting a private /run: %w", err)
	}
	if err := os.Remove(stage); err != nil {
		return fmt.Errorf("removing a mount point: %w", err)
	}
	for _, dir := range []string{"/var/lib", "/var/log"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mounting a private %s: %w", dir, err)
		}
	}
	if err := bindTo(filepath.Join(Base, "kubelet"), "/var/lib/kubelet"); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}

func bindTo(source, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("making a mount point: %w", err)
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", source, target, err)
	}
	return nil
}

// network brings up the node's side of the cable. The settings are those of the sandbox's network alone.
func network(ctx context.Context) error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"address", "add", NodeAddress + LinkPrefix, "dev", Uplink},
		{"link", "set", Uplink, "up"},
		{"route", "add", "default", "via", HostAddress},
	} {
		if err := ip(ctx, args...); err != nil {
			return fmt.Errorf("setting up the node's network: %w", err)
		}
	}
	for file, value := range map[string]string{
		"/proc/sys/net/ipv4/ip_forward": "1", // between pods, and between pods and this machine
		// kube-proxy sends traffic for services to pods, also from this node.
		"/proc/sys/net/ipv4/conf/all/route_localnet": "1",
	} {
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return fmt.Errorf("setting up the node's network: %w", err)
		}
	}
	return nil
}

// superviseChild runs the program that does the work, hands signals on to it, and reaps every process that ends:
// orphans of the sandbox become children of its first process. When it returns, the kernel kills all that is left.
func superviseChild(args []string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	child, err := os.StartProcess("/proc/self/exe", append([]string{"coffer-local"}, args...), &os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return fmt.Errorf("starting the supervisor: %w", err)
	}
	go func() {
		for s := range signals {
			_ = child.Signal(s) // it may have ended: then so do we
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for the processes of the node: %w", err)
		}
		if pid == child.Pid {
			if status.ExitStatus() != 0 {
				return fmt.Errorf("the supervisor ended with %v", status)
			}
			return nil
		}
	}
}

// LoadModules loads the kernel modules a node uses, where they are modules and not built in. Loading is all the outside
// notices of it; a kernel that has none of them says so when the node starts.
func LoadModules(ctx context.Context) {
	for _, module := range []string{
		"overlay", "veth", "nf_tables", "nf_conntrack", "nft_ct", "nft_masq", "nft_nat", "nft_chain_nat", "nft_fib_inet", "nft_reject_inet",
	} {
		_ = exec.CommandContext(ctx, "modprobe", "--quiet", module).Run()
	}
}
