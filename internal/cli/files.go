package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeNew makes file once what it holds is whole and on disk. It replaces none.
func writeNew(file string, write func(io.Writer) error) error {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s exists already: name another file", file)
	}
	return writeWhole(file, os.Link, write) // unlike a rename it replaces nothing
}

// replace is writeNew for a file that may exist.
func replace(file string, write func(io.Writer) error) error {
	return writeWhole(file, os.Rename, write)
}

// writeWhole writes beside file and has place bring it there.
func writeWhole(file string, place func(from, to string) error, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return syncFolder(filepath.Dir(file))
}

// syncFolder makes the names in a folder outlast a crash.
func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("open the folder %s: %w", folder, err)
	}
	// Some file systems do not sync folders, and need not.
	_ = f.Sync()
	return f.Close()
}
