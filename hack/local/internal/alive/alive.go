// Package alive tells whether a process runs by a file it holds locked. Unlike a process id in a file, the lock cannot
// be another process's, and goes however its holder ends.
package alive

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrRunning says that somebody holds the lock.
var ErrRunning = errors.New("a local environment of this checkout runs already")

// Lock takes the lock. It is held for as long as the file, or a descriptor a child inherited of it, is open.
func Lock(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the environment's lock: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrRunning
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Held reports whether some process holds the lock.
func Held(file string) bool {
	f, err := Lock(file)
	if err != nil {
		return errors.Is(err, ErrRunning)
	}
	f.Close()
	return false
}
