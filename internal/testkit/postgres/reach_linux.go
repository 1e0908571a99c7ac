package postgres

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// allowReach lets a child that is not root enter directories it has no permission for, so that a private server can
// keep its data in a checkout below root's home. CAP_DAC_OVERRIDE, not the narrower CAP_DAC_READ_SEARCH, because
// container runtimes leave only the former to root.
func allowReach(attr *syscall.SysProcAttr) {
	attr.AmbientCaps = []uintptr{unix.CAP_DAC_OVERRIDE}
}
