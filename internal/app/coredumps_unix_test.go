//go:build unix && !linux

package app

import (
	"syscall"
	"testing"
)

func TestForbidCoreDumps(t *testing.T) {
	if err := forbidCoreDumps(); err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil || limit.Cur != 0 || limit.Max != 0 {
		t.Errorf("limit %+v, error %v", limit, err)
	}
}
