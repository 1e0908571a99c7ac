package app

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidCoreDumps keeps the kernel from writing the memory of this process, in which keys and values are, to a file or to a
// program: for one that takes dumps, such as systemd-coredump, the limit of their size does not count (core(5)). Nor may other
// processes of this user look into the memory.
func forbidCoreDumps() error {
	notDumpable := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	noSize := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // also of programs that this one starts
	if err := errors.Join(notDumpable, noSize); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}
