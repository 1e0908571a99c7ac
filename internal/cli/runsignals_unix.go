//go:build unix

package cli

import (
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that go on to the process of coffer run.
var forwarded = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
}

// fromTerminal reports whether a terminal sends the signal to all processes in its
// foreground, so that the child has it already.
func fromTerminal(s os.Signal) bool {
	return s == syscall.SIGINT || s == syscall.SIGQUIT || s == syscall.SIGWINCH
}

// signalNamed returns the signal of a name such as SIGHUP or HUP.
func signalNamed(name string) (os.Signal, bool) {
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	number := unix.SignalNum(name)
	return number, number != 0
}
