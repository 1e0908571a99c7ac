//go:build unix && !linux

package postgres

import "syscall"

// allowReach does nothing: only Linux has capabilities.
func allowReach(*syscall.SysProcAttr) {}
