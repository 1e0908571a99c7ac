package postgres

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mountDisk makes the data directory a file system of its own, of size bytes of memory. The guard of the cluster's
// directory unmounts it.
func (c Cluster) mountDisk(size int64) error {
	who, err := serverOwner()
	if err != nil {
		return err
	}
	if err := os.Mkdir(c.data(), 0o700); err != nil {
		return err
	}
	options := fmt.Sprintf("size=%d,mode=0700", size)
	if who != nil {
		options += fmt.Sprintf(",uid=%d,gid=%d", who.uid, who.gid)
	}
	if err := unix.Mount("coffer-postgres", c.data(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mounting a small disk for PostgreSQL: %w: run as root, in a container with the right to mount (CAP_SYS_ADMIN)", err)
	}
	return nil
}
