package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/term"

	"github.com/coffer-vault/coffer/internal/testkit"
)

// stopped runs coffer on a terminal, and ends it once it has asked something: stopped ctrl-c|SIGTERM QUESTION ARGUMENT... It must exit
// with 130, leave the terminal as it was, and what it showed is in the file "shown".
func stopped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: stopped ctrl-c|SIGTERM QUESTION ARGUMENT...")
	}
	control, tty, err := pty.Open()
	ts.Check(err)
	defer func() { _, _ = control.Close(), tty.Close() }()
	before, err := term.GetState(int(tty.Fd()))
	ts.Check(err)
	cmd := exec.Command(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "coffer"), args[2:]...)
	for _, name := range []string{"COFFER_ADDR", "COFFER_CACERT", "COFFER_TOKEN_FILE", "HOME", "PATH", "XDG_CONFIG_HOME"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	never := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer never.Stop()
	var shown testkit.Output
	go func() { _, _ = io.Copy(&shown, control) }()
	waitFor(ts, &shown, args[1])
	if args[0] == "ctrl-c" {
		_, err = control.Write([]byte{3})
	} else {
		err = cmd.Process.Signal(syscall.SIGTERM)
	}
	ts.Check(err)
	_ = cmd.Wait()
	waitFor(ts, &shown, "Interrupted")
	ts.Check(os.WriteFile(ts.MkAbs("shown"), []byte(shown.String()), 0o600))
	after, err := term.GetState(int(tty.Fd()))
	ts.Check(err)
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || *after != *before {
		ts.Fatalf("exit code %d, and the terminal as it was: %v", code, *after == *before)
	}
}

func waitFor(ts *testscript.TestScript, shown *testkit.Output, text string) {
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(shown.String(), text) {
		if time.Now().After(deadline) {
			ts.Fatalf("%q is not shown:\n%s", text, shown)
		}
		<-tick.C
	}
}

// A request that a person ends is no outage of the vault.
func TestInterruptedRequest(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	caCert, token := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	must(t, os.WriteFile(caCert, pemOf(server.Certificate().Raw), 0o600))
	must(t, os.WriteFile(token, []byte("t"), 0o600))
	var said bytes.Buffer
	s := &session{in: strings.NewReader(""), out: &said, err: &said, now: time.Now}
	code := s.run(ctx, []string{"coffer", "whoami", "--address", server.URL, "--ca-cert", caCert, "--token-file", token})
	if text := said.String(); code != exitInterrupted || !strings.HasPrefix(text, "Interrupted: ") || strings.Contains(text, "Is the address right") {
		t.Errorf("exit code %d:\n%s", code, text)
	}
}

// What is piped in is not waited for either, and what came of it by then is not taken for all.
func TestInterruptedPipe(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	for name, read := range map[string]func() ([]byte, error){
		"nothing comes": func() ([]byte, error) {
			interrupt()
			<-t.Context().Done()
			return nil, nil
		},
		"a part has come": func() ([]byte, error) {
			interrupt()
			return []byte("a part"), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &session{interrupted: ctx.Done()}
			if value, err := awaited(s, read); !errors.Is(err, errInterrupted) || value != nil {
				t.Errorf("%d bytes, %v", len(value), err)
			}
		})
	}
	s := &session{}
	if value, err := awaited(s, func() (string, error) { return "all", io.EOF }); value != "all" || !errors.Is(err, io.EOF) {
		t.Errorf("%s, %v", fmt.Sprint(len(value)), err)
	}
}
