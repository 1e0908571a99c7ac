package credscan

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"github.com/zricethezav/gitleaks/v8/sources"
)

// counted tells how many commits of a source were begun with.
type counted struct {
	sources.Source
	total    int64
	progress func(done, total int64)

	mutex sync.Mutex
	seen  map[string]bool
}

// Fragments implements sources.Source.
func (c *counted) Fragments(ctx context.Context, yield sources.FragmentsFunc) error {
	return c.Source.Fragments(ctx, func(fragment sources.Fragment, err error) error {
		c.count(fragment.CommitSHA)
		return yield(fragment, err)
	})
}

func (c *counted) count(commit string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.seen[commit] {
		return
	}
	c.seen[commit] = true
	done := int64(len(c.seen))
	c.progress(done, max(c.total, done))
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
