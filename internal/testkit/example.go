package testkit

import (
	"os"
	"slices"
	"testing"
)

// Example stands for the test that an example has not, where something wants one to end
// with. What it does not have here panics, and fails the example. Close it.
type Example struct {
	testing.TB // nil

	ends []func()
}

// Helper implements testing.TB.
func (*Example) Helper() {}

// Cleanup implements testing.TB.
func (e *Example) Cleanup(f func()) { e.ends = append(e.ends, f) }

// Close does what Cleanup was told, the last first.
func (e *Example) Close() {
	for _, end := range slices.Backward(e.ends) {
		end()
	}
}

// TempDir implements testing.TB.
func (e *Example) TempDir() string {
	dir, err := os.MkdirTemp("", "coffer-example-")
	if err != nil {
		panic(err)
	}
	e.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Setenv implements testing.TB.
func (e *Example) Setenv(key, value string) {
	before, was := os.LookupEnv(key)
	if err := os.Setenv(key, value); err != nil {
		panic(err)
	}
	e.Cleanup(func() {
		if was {
			_ = os.Setenv(key, before)
		} else {
			_ = os.Unsetenv(key)
		}
	})
}
