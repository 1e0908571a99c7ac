// Package process runs a server as a child whose life never outlasts the program that started it.
//
// A deferred clean-up does not run when a test panics in another goroutine, times out or is killed. So each scratch
// directory has a watchdog: a shell waiting on a pipe whose other end only this program holds. When the program is
// gone, by whatever way, the pipe closes, and the watchdog stops the server and removes the directory.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a server may take to stop on its stop signal before it is killed.
const stopGrace = 20 * time.Second

// Process is a running child, or one that has ended.
type Process struct {
	cmd     *exec.Cmd
	log     string
	pidFile string
	done    chan struct{}
	err     error // set before done is closed
}

// Start runs cmd with its output appended to dir/name.log and its process id in dir/name.pid, where a Guard of dir
// finds it. The child is the leader of a session of its own, so that an interrupt typed at the terminal reaches only
// this program, which then stops the child in order.
func Start(cmd *exec.Cmd, dir, name string) (*Process, error) {
	p := &Process{
		cmd:     cmd,
		log:     filepath.Join(dir, name+".log"),
		pidFile: filepath.Join(dir, name+".pid"),
		done:    make(chan struct{}),
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", name, err)
	}
	defer log.Close() // the child has its own descriptor
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go p.wait()
	if err := os.WriteFile(p.pidFile, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the process id of %s: %w", name, err), p.Kill())
	}
	return p, nil
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends sig to the child; a child that has ended already is no error.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// Stop sends sig and waits for the child to end; after a grace period, or when ctx ends, it kills it.
func (p *Process) Stop(ctx context.Context, sig os.Signal) error {
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	if err := p.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.forget()
	case <-ctx.Done():
		return errors.Join(
			fmt.Errorf("%s did not stop on %v: killed", filepath.Base(p.cmd.Path), sig),
			p.Kill())
	}
}

// Kill ends the child with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return p.forget()
}

// forget removes the process id file: the number may soon be another process's.
func (p *Process) forget() error {
	if err := os.Remove(p.pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// AwaitReady calls ready every few milliseconds until it returns nil. It gives up, with the end of the child's log,
// when the child ends or ctx does.
func (p *Process) AwaitReady(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended while starting (%w):\n%s", filepath.Base(p.cmd.Path), errors.Join(p.err), p.LogTail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w:\n%s", filepath.Base(p.cmd.Path), err, p.LogTail())
		case <-tick.C:
		}
	}
}

// LogTail is the last lines the child wrote.
func (p *Process) LogTail() string {
	const lines = 20
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
