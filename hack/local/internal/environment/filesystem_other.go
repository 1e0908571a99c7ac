//go:build !linux

package environment

// snapshotter is for nodes, which need Linux.
func snapshotter(string) string { return "native" }
