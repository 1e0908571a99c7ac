package process_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// ownerVariable makes the test binary play the program that owns a guarded server and is then killed.
const ownerVariable = "COFFER_TEST_GUARD_OWNER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerVariable); dir != "" {
		os.Exit(ownServer(dir))
	}
	os.Exit(m.Run())
}

// ownServer starts a guarded child, says "ready", and waits to be killed.
func ownServer(dir string) int {
	guard, err := process.NewGuard(dir, "TERM")
	if err != nil {
		return 1
	}
	defer runtime.KeepAlive(guard)
	if _, err := process.Start(exec.Command("sleep", "600"), dir, "server"); err != nil {
		return 1
	}
	os.Stdout.WriteString("ready\n")
	select {}
}

func TestGuardStopsTheServerOfAKilledProgram(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "scratch")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerVariable+"="+dir)
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the owner said %q: %v", line, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "server.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait() // "signal: killed"

	eventually(t, "the scratch directory is gone", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) && !zombie(pid) {
		t.Errorf("server %d still runs (signal 0: %v)", pid, err)
	}
}

func TestStopKillsWhatIgnoresTheSignal(t *testing.T) {
	dir := t.TempDir()
	p, err := process.Start(exec.Command("/bin/sh", "-c", `trap "" TERM; echo up; while :; do sleep 0.05; done`), dir, "deaf")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is up", func() bool { return p.LogTail() == "up" })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx, syscall.SIGTERM); err == nil {
		t.Error("Stop of a process that ignores the signal says nothing")
	}
	select {
	case <-p.Done():
	default:
		t.Error("Stop returned and the process lives")
	}
}

func TestAwaitReadyReportsAnEarlyEnd(t *testing.T) {
	p, err := process.Start(exec.Command("/bin/sh", "-c", "echo no such port; exit 3"), t.TempDir(), "broken")
	if err != nil {
		t.Fatal(err)
	}
	err = p.AwaitReady(t.Context(), func(context.Context) error { return io.EOF })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such port") {
		t.Errorf("got %v; want the exit status and the log", err)
	}
}

// zombie reports whether pid has ended and only waits for its parent (here: init) to collect it.
func zombie(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
