package environment

import "golang.org/x/sys/unix"

// snapshotter is the one containerd is to use in dir: overlayfs, unless dir itself is on one (the root of a container
// is), for which it would have to copy.
func snapshotter(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}
