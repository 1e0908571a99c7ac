package sdk

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit/authority"
)

// TestAnAuthorityThatIsTakenAwayIsTrustedForAMinute at most, though each server shows a
// certificate of it.
func TestAnAuthorityThatIsTakenAwayIsTrustedForAMinute(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.crt")
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(authority.New(t, "first").PEM)
	now := time.Now()
	a, err := newAuthorityFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a.now, a.readAt = func() time.Time { return now }, now
	first := a.current()
	write(authority.New(t, "second").PEM)
	now = now.Add(authorityMaxAge - time.Second)
	if a.current() != first {
		t.Error("the file is read for each request")
	}
	now = now.Add(time.Second)
	second := a.current()
	if second == first {
		t.Error("the first authority is trusted on")
	}
	now = now.Add(authorityMaxAge)
	if a.current() != second {
		t.Error("connections are given up though the file says the same")
	}
}
