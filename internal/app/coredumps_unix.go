//go:build unix && !linux

package app

import (
	"fmt"
	"syscall"
)

// forbidCoreDumps keeps the kernel from writing the memory of this process, in which keys and values are, to a file.
func forbidCoreDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}
