package postgres

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// ballast is the file that takes the room that is left.
func (s *Server) ballast() string { return filepath.Join(s.cluster.data(), "ballast") }

// FillDisk takes all the room that is left on the server's file system, which must be its own: Options.DiskBytes.
func (s *Server) FillDisk() error {
	file, err := os.OpenFile(s.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("filling the disk: %w", err)
	}
	_, err = io.Copy(file, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(fmt.Errorf("filling the disk: %w", err), file.Close())
	}
	return file.Close()
}

// FreeDisk gives back what FillDisk took.
func (s *Server) FreeDisk() error { return os.Remove(s.ballast()) }

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
