package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/coffer-vault/coffer/hack/local/internal/alive"
)

// Config of Start.
type Config struct {
	// Node is the node's folder, Cache that of built programs; both exist.
	Node, Cache string
	// Alive is the file locked for as long as the sandbox lives.
	Alive string
	// Init are the arguments with which this program, started anew as the first process of the sandbox, calls Init.
	Init []string
}

// Variables by which the first process learns its Config.
const (
	nodeVariable  = "COFFER_LOCAL_NODE"
	cacheVariable = "COFFER_LOCAL_CACHE"
)

// Descriptors the first process inherits.
const (
	aliveDescriptor = 3 // the locked file
	wiredDescriptor = 4 // readable, and at its end, once the cable is there
)

// Start makes the sandbox and runs this program in it. It returns the process to Stop it by, as soon as the sandbox is
// on the network; the process outlives the caller.
func Start(ctx context.Context, c Config) (pid int, err error) {
	if owner := linkOwner(); owner != "" && owner != c.Node {
		return 0, fmt.Errorf("another local environment runs on this machine, in %s: end it there with make down", owner)
	}
	lock, err := alive.Lock(c.Alive)
	if err != nil {
		return 0, err
	}
	defer lock.Close() // the child has a descriptor of the same lock
	log, err := os.OpenFile(filepath.Join(c.Node, "node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, fmt.Errorf("opening the node's log: %w", err)
	}
	defer log.Close()
	wired, wire, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("making a pipe to the node: %w", err)
	}
	defer wired.Close()
	defer wire.Close()

	cmd := exec.Command("/proc/self/exe", c.Init...) // not by name: "go run" removes the file
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock, wired}
	cmd.Env = append(os.Environ(), nodeVariable+"="+c.Node, cacheVariable+"="+c.Cache)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("making the node's namespaces: %w", err)
	}
	pid = cmd.Process.Pid
	if err := connect(ctx, pid, c.Node); err != nil {
		_ = cmd.Process.Kill() // it may have ended, which is why
		_ = cmd.Wait()
		said, _ := os.ReadFile(log.Name()) // empty if it cannot be read
		return 0, fmt.Errorf("%w\n%s", err, said)
	}
	return pid, cmd.Process.Release()
}

// connect lays the cable between this machine and the sandbox and tells this machine what lies behind it.
func connect(ctx context.Context, pid int, node string) error {
	for _, args := range [][]string{
		{"link", "add", Link, "type", "veth", "peer", "name", Uplink, "netns", strconv.Itoa(pid)},
		{"link", "set", Link, "alias", node},
		{"address", "add", HostAddress + LinkPrefix, "dev", Link},
		{"link", "set", Link, "up"},
		{"route", "add", PodNetwork, "via", NodeAddress, "dev", Link},
		{"route", "add", ServiceNetwork, "via", NodeAddress, "dev", Link},
	} {
		if err := ip(ctx, args...); err != nil {
			return fmt.Errorf("connecting the node to this machine: %w", err)
		}
	}
	return nil
}

func ip(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// linkOwner is the folder of the node that this machine's end of a cable belongs to; empty if there is none. It is kept
// as the link's alias.
func linkOwner() string {
	alias, err := os.ReadFile("/sys/class/net/" + Link + "/ifalias")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(alias))
}

// stopWithin is how long the programs inside may take to stop in order.
const stopWithin = 30 * time.Second

// Stop ends the sandbox and removes what it left outside. It is no error if there is none, or if it was killed.
func Stop(ctx context.Context, pid int, c Config) error {
	var errs []error
	if pid > 0 && alive.Held(c.Alive) {
		errs = append(errs, end(ctx, pid))
	}
	if linkOwner() == c.Node {
		// The node's end may have taken ours with it since we looked.
		if err := ip(ctx, "link", "delete", Link); err != nil && !strings.Contains(err.Error(), "Cannot find device") {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, removeCgroups(ctx, c.Node))...)
}

// end asks the first process of the sandbox to stop, then makes the kernel end everything in it.
func end(ctx context.Context, pid int) error {
	if err := unix.Kill(pid, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stopping the node: %w", err)
	}
	ordered, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if awaitEnd(ordered, pid) == nil {
		return nil
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the node: %w", err)
	}
	killed, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return awaitEnd(killed, pid)
}

// awaitEnd waits until the process has ended. The kernel lets the first process of a namespace end only after all
// others of it have.
func awaitEnd(ctx context.Context, pid int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") { // gone, or only not collected by its parent yet
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d, the node, does not end: %w", pid, ctx.Err())
		}
	}
}
