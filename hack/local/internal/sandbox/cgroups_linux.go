package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// containerdNamespace is the one Kubernetes's containers have in containerd, and the name of the control group
// containerd puts them in. Another node on this machine would use the same group: only containers of ours are removed.
const containerdNamespace = "k8s.io"

// removeCgroups removes the control groups of the containers of the node in the folder node, whose processes have all
// ended. containerd has a folder there for each container, by its id.
func removeCgroups(ctx context.Context, node string) error {
	containers, err := os.ReadDir(filepath.Join(node, "containerd/io.containerd.runtime.v2.task", containerdNamespace))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing control groups: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	var errs []error
	for _, group := range cgroupRoots() {
		for _, container := range containers {
			errs = append(errs, removeTree(ctx, filepath.Join(group, container.Name())))
		}
		// It goes if no other node's containers are in it.
		if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, fmt.Errorf("removing control group %s: %w", group, err))
		}
	}
	return errors.Join(errs...)
}

// cgroupRoots are the groups of Kubernetes's containers in each hierarchy: version 1 has one for each controller.
func cgroupRoots() []string {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + containerdNamespace)
	if err != nil {
		panic(err) // the pattern is a constant
	}
	return append(roots, "/sys/fs/cgroup/"+containerdNamespace)
}

// removeTree removes a control group after those below it. The files in it are the kernel's and go with it.
func removeTree(ctx context.Context, group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing control groups: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(ctx, filepath.Join(group, entry.Name())); err != nil {
				return err
			}
		}
	}
	for { // a process that was just killed is in its group for a moment longer
		err := unix.Rmdir(group)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("removing control group %s: %w", group, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("removing control group %s: %w", group, err)
		}
	}
}
