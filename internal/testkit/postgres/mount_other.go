//go:build unix && !linux

package postgres

import "errors"

// mountDisk fails: only Linux has a file system of memory that anybody can size.
func (Cluster) mountDisk(int64) error {
	return errors.New("mounting a small disk for PostgreSQL: only possible on Linux")
}
