package postgres_test

import (
	"os"
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
