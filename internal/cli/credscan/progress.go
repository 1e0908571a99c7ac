package credscan

import (
	"context"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/zricethezav/gitleaks/v8/sources"
)

// counted tells how many things of a source, such as commits, were begun with.
type counted struct {
	sources.Source
	// of says which thing a fragment is of.
	of       func(*sources.Fragment) string
	total    int64
	progress func(done, total int64)

	mutex sync.Mutex
	seen  map[string]bool
}

// Fragments implements sources.Source.
func (c *counted) Fragments(ctx context.Context, yield sources.FragmentsFunc) error {
	return c.Source.Fragments(ctx, func(fragment sources.Fragment, err error) error {
		c.count(c.of(&fragment))
		return yield(fragment, err)
	})
}

func (c *counted) count(thing string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.seen[thing] {
		return
	}
	c.seen[thing] = true
	done := int64(len(c.seen))
	c.progress(done, max(c.total, done))
}

// files is how many files a folder has, as far as they can be counted. Those of git itself are not looked at.
func files(folder string) (n int64) {
	_ = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		switch {
		case err == nil && entry.IsDir() && entry.Name() == ".git":
			return fs.SkipDir
		case err == nil && entry.Type().IsRegular():
			n++
		}
		return nil
	})
	return n
}

// commits is how many commits of all branches are about the folder; 0 when git does not say it.
func commits(ctx context.Context, folder string) int64 {
	said, err := exec.CommandContext(ctx, "git", "-C", folder, "rev-list", "--all", "--full-history", "--count", "--", ".").Output() //nolint:gosec // the folder that the user names
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(said)), 10, 64)
	return n
}
