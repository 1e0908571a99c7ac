package supervise_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/hack/local/internal/supervise"
)

// flag is a service that is ready once it has made a file.
func flag(dir, name string, after ...string) supervise.Service {
	file := filepath.Join(dir, name+".flag")
	return supervise.Service{
		Name: name, After: after, Stop: syscall.SIGTERM,
		Command: func() (*exec.Cmd, error) {
			return exec.Command("/bin/sh", "-c", `touch "$0"; trap 'rm "$0"; exit' TERM; while :; do sleep 0.02; done`, file), nil
		},
		Ready: func(context.Context) error { _, err := os.Stat(file); return err },
	}
}

func run(t *testing.T, dir string, services ...supervise.Service) *supervise.Client {
	t.Helper()
	s := supervise.New(dir, slog.New(slog.DiscardHandler), services)
	// Not t.TempDir: the name of a test would make the socket's path too long.
	sockets, err := os.MkdirTemp("", "coffer-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	socket := filepath.Join(sockets, "s")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Serve(ctx, socket) }()
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
	})
	return supervise.NewClient(socket)
}

func await(t *testing.T, c *supervise.Client, name string, want supervise.State) supervise.Status {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		all, err := c.Status(t.Context())
		for _, status := range all {
			if err == nil && status.Name == name && status.State == want {
				return status
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not %s: %v, %v", name, want, all, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestServicesStartAfterWhatTheyNeedAndStopInTurn(t *testing.T) {
	dir := t.TempDir()
	needed := flag(dir, "needed")
	second := flag(dir, "second", "needed")
	command := second.Command
	second.Command = func() (*exec.Cmd, error) {
		if err := needed.Ready(t.Context()); err != nil {
			t.Errorf("started before what it needs: %v", err)
		}
		return command()
	}
	t.Cleanup(func() { // runs after the supervisor has stopped
		if left, _ := filepath.Glob(filepath.Join(dir, "*.flag")); len(left) > 0 {
			t.Errorf("still there after the end: %v", left)
		}
	})
	c := run(t, dir, second, needed)
	await(t, c, "second", supervise.Running)
}

func TestStopCrashAndStartAgain(t *testing.T) {
	dir := t.TempDir()
	c := run(t, dir, flag(dir, "one"))
	await(t, c, "one", supervise.Running)
	for name, end := range map[string]func(context.Context, string) error{"stop": c.Stop, "crash": c.Crash} {
		if err := end(t.Context(), "one"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		await(t, c, "one", supervise.Stopped)
		if err := c.Start(t.Context(), "one"); err != nil {
			t.Fatalf("start after %s: %v", name, err)
		}
		await(t, c, "one", supervise.Running)
	}
	if err := c.Stop(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), `no such service: "other"`) {
		t.Errorf("stopping an unknown service: %v", err)
	}
}

func TestAServiceThatEndsIsToldWithItsLog(t *testing.T) {
	dir := t.TempDir()
	c := run(t, dir, supervise.Service{
		Name: "broken", Stop: syscall.SIGTERM,
		Command: func() (*exec.Cmd, error) { return exec.Command("/bin/sh", "-c", "echo out of cheese; exit 1"), nil },
		Ready:   func(context.Context) error { return errors.New("never") },
	})
	if status := await(t, c, "broken", supervise.Failed); !strings.Contains(status.Message, "out of cheese") {
		t.Errorf("the message lacks the log: %q", status.Message)
	}
}
