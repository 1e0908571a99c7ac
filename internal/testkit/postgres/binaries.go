package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
)

// ErrNotInstalled says that this machine has no PostgreSQL server.
var ErrNotInstalled = errors.New("no PostgreSQL server in PATH or /usr/lib/postgresql: install it with: apt-get install postgresql")

// debianBinaries is where Debian keeps initdb and postgres, one directory a major version, off PATH.
const debianBinaries = "/usr/lib/postgresql/*/bin"

// BinDir is the directory of initdb and postgres: the newest of Debian's, else the one in PATH.
func BinDir() (string, error) {
	dirs, err := filepath.Glob(debianBinaries)
	if err != nil {
		return "", fmt.Errorf("looking for PostgreSQL: %w", err)
	}
	major := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0, the oldest, for a name that is no version
		return n
	}
	sort.Slice(dirs, func(i, j int) bool { return major(dirs[i]) > major(dirs[j]) })
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", ErrNotInstalled
	}
	if initdb, err = filepath.EvalSymlinks(initdb); err != nil {
		return "", fmt.Errorf("looking for PostgreSQL: %w", err)
	}
	return filepath.Dir(initdb), nil
}
