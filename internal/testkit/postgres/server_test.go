package postgres_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit/postgres"
)

// A checkout in root's home is out of reach of the account PostgreSQL runs as.
func TestServerBelowAPrivateDirectory(t *testing.T) {
	private := t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", private)
	server, err := postgres.Start(t.Context(), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(private); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestFullDisk(t *testing.T) {
	scratch := t.TempDir()
	t.Setenv("TMPDIR", scratch)
	server, err := postgres.Start(t.Context(), postgres.Options{DiskBytes: 128 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if mounts, err := os.ReadFile("/proc/mounts"); err != nil || bytes.Contains(mounts, []byte(scratch)) {
			t.Errorf("the disk is still mounted: %v", err)
		}
	})
	write := func() error {
		return server.Exec(t.Context(), `CREATE TABLE IF NOT EXISTS filling AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)`)
	}
	if err := server.FillDisk(); err != nil {
		t.Fatal(err)
	}
	if err := write(); err == nil || !strings.Contains(err.Error(), "53100") {
		t.Errorf("a write on a full disk: %v", err)
	}
	if err := server.FreeDisk(); err != nil {
		t.Fatal(err)
	}
	if err := write(); err != nil {
		t.Errorf("a write when there is room again: %v", err)
	}
}
