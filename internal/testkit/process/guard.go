package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// watch waits for its standard input to close, then sends signal $2 to every process whose id is in a file $1/*.pid,
// gives each ten seconds to stop, kills what remains, unmounts what is mounted below $1, and removes $1. A process that has ended but that nobody has
// collected yet (state Z: some containers' init is slow at it) counts as stopped.
const watch = `
running() {
	kill -0 "$1" 2>/dev/null && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null
}
while read -r _; do :; done
for f in "$1"/*.pid; do
	[ -s "$f" ] || continue
	pid=$(cat "$f")
	kill -s "$2" "$pid" 2>/dev/null || continue
	n=0
	while running "$pid" && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
	! running "$pid" || kill -s KILL "$pid" 2>/dev/null
done
while read -r _ mount _; do
	case "$mount" in "$1"/*) umount -l "$mount" ;; esac
done 2>/dev/null </proc/mounts
rm -rf -- "$1"
`

// Guard ties a scratch directory, the servers whose process ids are in it, and what is mounted in it, to the life of this program. It must be
// kept: the pipe of one that is garbage is closed.
type Guard struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
}

// NewGuard starts the watchdog of dir. sig is the name of the signal that stops the servers in it ("INT", "TERM", "KILL").
func NewGuard(dir, sig string) (*Guard, error) {
	cmd := exec.Command("/bin/sh", "-c", watch, "coffer-testkit-watchdog", dir, sig)
	cmd.Dir = os.TempDir() // not the caller's: a watchdog must not keep a directory busy
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("making the watchdog's pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the watchdog: %w", err)
	}
	return &Guard{cmd: cmd, pipe: pipe}, nil
}

// Release lets the watchdog clean up now, and waits for it.
func (g *Guard) Release() error {
	return errors.Join(g.pipe.Close(), g.cmd.Wait())
}
