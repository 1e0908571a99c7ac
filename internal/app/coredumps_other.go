//go:build !unix

package app

// forbidCoreDumps does nothing where there is no such limit.
func forbidCoreDumps() error { return nil }
