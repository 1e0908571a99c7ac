//go:build unix

package cli

import (
	"os"
	"os/signal"
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

// inForeground reports whether the terminal that controls this process, whatever its standard input is, sends
// it what is typed: the child, of the same group, gets that too.
func inForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// keepFromPipes makes writing to a pipe that nobody reads an error, as a shell that supervises has it, until
// stop is called: the runtime ends a program for it whose standard error it is, and the process and its files would stay
// behind. Unlike an ignored signal it is the process's own again.
func keepFromPipes() (stop func()) {
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	return func() { signal.Stop(broken) }
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
