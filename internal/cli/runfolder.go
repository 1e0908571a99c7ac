package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// envFiles names the folder of the files to the process.
const envFiles = "COFFER_FILES"

// folder is where the files of coffer run are; none when its name is empty.
type folder string

// newFolder makes a folder for its owner alone, in memory where there is such a place.
func newFolder(needed bool) (folder, error) {
	if !needed {
		return "", nil
	}
	for _, parent := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		if !filepath.IsAbs(parent) {
			continue
		}
		if made, err := os.MkdirTemp(parent, "coffer-run-"); err == nil { // with mode 0700
			return folder(made), nil
		}
	}
	made, err := os.MkdirTemp("", "coffer-run-")
	if err != nil {
		return "", fmt.Errorf("make the folder of the files: %w", err)
	}
	return folder(made), nil
}

func (f folder) remove() {
	if f != "" {
		_ = os.RemoveAll(string(f))
	}
}

// write replaces each file at once: the process never reads half of one.
func (f folder) write(files map[string][]byte) error {
	for name, content := range files {
		file := filepath.Join(string(f), name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return fmt.Errorf("make the folder of the file %s: %w", name, err)
		}
		err := replace(file, func(w io.Writer) error {
			_, err := w.Write(content)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
