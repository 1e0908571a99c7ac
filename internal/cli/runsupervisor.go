package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

const (
	// settle is how long no further change must come before a change counts: secrets that
	// rotate together restart a process once.
	settle = time.Second
	// readAgain is how long after a failed reading the next one comes.
	readAgain = 5 * time.Second
)

// supervisor runs one process, and starts or signals it anew on changes. All but the
// readings happens in run.
type supervisor struct {
	args     []string
	in       io.Reader
	out, err io.Writer
	folder   folder
	read     func(context.Context) (values, error)
	change   reaction
	// changes says that something may have changed; nil when nobody asks.
	changes     <-chan struct{}
	signals     <-chan os.Signal
	stopTimeout time.Duration
	// digest is of the values that the process has.
	digest [sha256.Size]byte

	child *exec.Cmd
	done  chan struct{}
	// next are the values to start with when the process that is being stopped has ended.
	next *values
	// ending says that somebody asked for the end less than stopTimeout ago: a process that has not ended by then goes on.
	ending bool
}

// reading is what came of reading the values again.
type reading struct {
	values values
	err    error
}

// say tells the person, on standard error, beside what the process writes there.
func (r *supervisor) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.err, "coffer: "+format+"\n", args...)
}

// run returns how the process ended.
func (r *supervisor) run(ctx context.Context, first values) error {
	if err := r.start(first); err != nil {
		return err
	}
	readings := make(chan reading, 1)
	var settled, kill, survived <-chan time.Time
	busy, failed := false, false
	for {
		select {
		case <-r.done:
			if r.next == nil {
				return exitOf(r.child.ProcessState)
			}
			v := *r.next
			r.next, kill = nil, nil
			if err := r.start(v); err != nil {
				return err
			}
		case s := <-r.signals:
			if r.forward(s) {
				kill, survived = nil, time.After(r.stopTimeout)
			}
		case <-survived:
			survived, r.ending, settled = nil, false, r.missed(settled)
		case <-r.changes:
			settled = time.After(settle)
		case <-settled:
			settled = nil
			if busy {
				settled = time.After(settle)
				continue
			}
			busy = true
			go func() {
				v, err := r.read(ctx)
				readings <- reading{v, err}
			}()
		case got := <-readings:
			busy = false
			if got.err != nil {
				if !failed {
					r.say("the values cannot be read now, and the process goes on with those that it has: %v", got.err)
				}
				failed, settled = true, time.After(readAgain)
				continue
			}
			failed = false
			if r.changed(got.values) && r.change.restart && kill == nil { // or a change each minute would put it off for ever
				kill = time.After(r.stopTimeout)
			}
		case <-kill:
			kill = nil
			if r.next != nil {
				_ = r.child.Process.Kill()
			}
		}
	}
}

// missed is when to look for the changes that the process was not to see while it was about to end; otherwise is for one that follows none.
func (r *supervisor) missed(otherwise <-chan time.Time) <-chan time.Time {
	if r.change.follows() {
		return time.After(settle)
	}
	return otherwise
}

// changed gives the process new values, when they are new.
func (r *supervisor) changed(v values) bool {
	digest := v.digest()
	if digest == r.digest || r.ending {
		return false
	}
	if err := r.folder.write(v.files); err != nil {
		r.say("the files cannot be written, and the process goes on with those that it has: %v", err)
		return false
	}
	r.digest = digest
	if r.change.restart {
		r.say("values have changed; the process is started anew")
		r.next = &v
		_ = r.child.Process.Signal(syscall.SIGTERM)
		return true
	}
	r.say("values have changed; the process is told")
	_ = r.child.Process.Signal(r.change.signal)
	return true
}

// forward sends the process a signal that came to coffer, and reports whether that asks for its end.
func (r *supervisor) forward(s os.Signal) (asked bool) {
	asked = s == syscall.SIGTERM || s == os.Interrupt
	if asked {
		if r.next != nil {
			r.digest = [sha256.Size]byte{} // it does not get the new values now, and has others
		}
		r.next, r.ending = nil, true // whoever wants an end wants no restart, also of a change that comes while the process ends
	}
	if fromTerminal(s) && inForeground() {
		return asked
	}
	_ = r.child.Process.Signal(s)
	return asked
}

// The exit codes of shells for a command that cannot be run, and for one that is not
// there.
const (
	exitCannotRun = 126
	exitNoCommand = 127
)

// startError says that the command is not there, or cannot be run.
type startError struct {
	code int
	err  error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

func (r *supervisor) start(v values) error {
	child := exec.Command(r.args[0], r.args[1:]...) //nolint:noctx,gosec // running what it is told is what it is for, and it ends by signals
	child.Stdin, child.Stdout, child.Stderr = r.in, r.out, r.err
	child.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, sdk.EnvToken+"=") // which can do more than the process needs
	})
	for name, value := range v.env {
		child.Env = append(child.Env, name+"="+value)
	}
	if r.folder != "" {
		child.Env = append(child.Env, envFiles+"="+string(r.folder))
	}
	if err := child.Start(); err != nil {
		code := exitCannotRun
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			code = exitNoCommand
		}
		return &startError{code, fmt.Errorf("run %s: %w", r.args[0], err)}
	}
	done := make(chan struct{})
	r.child, r.done = child, done
	go func() {
		defer close(done)
		_ = child.Wait()
	}()
	return nil
}

// exitOf is nil for a process that ended well.
func exitOf(state *os.ProcessState) error {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &processExit{128 + int(status.Signal())}
	}
	if state.ExitCode() == 0 {
		return nil
	}
	return &processExit{state.ExitCode()}
}
