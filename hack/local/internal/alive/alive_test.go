package alive_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/coffer-vault/coffer/hack/local/internal/alive"
)

func TestLockIsHeldUntilClosed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	if alive.Held(file) {
		t.Error("held before anybody took it")
	}
	f, err := alive.Lock(file)
	if err != nil {
		t.Fatal(err)
	}
	if !alive.Held(file) {
		t.Error("not held by its holder")
	}
	if _, err := alive.Lock(file); !errors.Is(err, alive.ErrRunning) {
		t.Errorf("taken twice: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if alive.Held(file) {
		t.Error("held after its end")
	}
}
