package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/sdk"
)

// contains waits until a file has a line: contains FILE LINE.
func contains(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: contains FILE LINE")
	}
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && slices.Contains(strings.Split(string(content), "\n"), args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has no line %q:\n%s", args[0], args[1], content)
		}
		<-tick.C
	}
}

// interrupted runs coffer on a terminal that is not its standard input, types what interrupts once a file
// has a line, and sends SIGUSR1 then: interrupted FILE LINE ARGUMENT...
func interrupted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupted FILE LINE ARGUMENT...")
	}
	control, tty, err := pty.Open()
	ts.Check(err)
	defer func() { _ = control.Close() }()
	cmd := exec.Command(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "coffer"), args[2:]...)
	for _, name := range []string{"COFFER_ADDR", "COFFER_CACERT", "COFFER_TOKEN_FILE", "PATH"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	const stdout = 1
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: stdout}
	ts.Check(cmd.Start())
	_ = tty.Close()
	contains(ts, false, []string{args[0], args[1]})
	_, err = control.Write([]byte{3}) // Ctrl-C
	ts.Check(err)
	shown := bufio.NewReader(control)
	for last, c := byte(0), byte(0); last != '^' || c != 'C'; { // which it shows once it has sent the signal
		last = c
		c, err = shown.ReadByte()
		ts.Check(err)
	}
	ts.Check(cmd.Process.Signal(syscall.SIGUSR1))
	ts.Check(cmd.Wait())
}

// What is given on the command line becomes variables and files, or an error that says
// what is wrong with it and never a value.
func TestRunSources(t *testing.T) {
	stored := map[string]string{
		"a/properties": `{"user":"u","pass-word":"p\u0000q"}`,
		"a/plain":      "hidden",
		"a/digits":     `{"1st":"hidden"}`,
		"a/two":        `{"a-b":"hidden","a.b":"hidden"}`,
		"a/bytes":      "\xffhidden",
		"a/db":         `{"user":"u","pass-word":"p"}`,
		"a/loader":     `{"ld-preload":"hidden"}`,
		"a/null":       `{"user":"hidden","host":null}`,
		"a/latin":      "{\"user\":\"hidden\xe4\"}",
	}
	get := func(_ context.Context, path string) (sdk.Secret, error) {
		return sdk.Secret{Metadata: sdk.Metadata{Path: path}, Value: []byte(stored[path])}, nil
	}
	for name, test := range map[string]struct {
		flags runFlags
		env   map[string]string
		files map[string][]byte
		err   string
	}{
		"all properties": {flags: runFlags{env: []string{"a/db"}, prefix: "DB_"}, env: map[string]string{"DB_USER": "u", "DB_PASS_WORD": "p"}},
		"one property and a value": {
			flags: runFlags{env: []string{"NAME=a/db#pass-word", "plain=a/plain"}, prefix: "DB_"}, env: map[string]string{"NAME": "p", "plain": "hidden"},
		},
		"files": {
			flags: runFlags{files: []string{"a/bytes=b", "a/db#user=c/user"}}, files: map[string][]byte{"b": []byte("\xffhidden"), "c/user": []byte("u")},
		},
		"nothing":               {err: "say what the process is to have"},
		"no path":               {flags: runFlags{env: []string{"NAME="}}, err: "is not PATH, NAME=PATH or NAME=PATH#PROPERTY"},
		"no property":           {flags: runFlags{env: []string{"NAME=a/db#"}}, err: "is not PATH, NAME=PATH or NAME=PATH#PROPERTY"},
		"a property unnamed":    {flags: runFlags{env: []string{"a/db#user"}}, err: "is not PATH, NAME=PATH or NAME=PATH#PROPERTY"},
		"a name that is none":   {flags: runFlags{env: []string{"1=a/db"}}, err: "no name of a variable"},
		"a prefix that is none": {flags: runFlags{env: []string{"a/db"}, prefix: "D-"}, err: "cannot begin the name of a variable"},
		"a file outside":        {flags: runFlags{files: []string{"a/db=../x"}}, err: "no name below the folder"},
		"an absolute file":      {flags: runFlags{files: []string{"a/db=/x"}}, err: "no name below the folder"},
		"the folder itself":     {flags: runFlags{files: []string{"a/db=."}}, err: "no name below the folder"},
		"no file":               {flags: runFlags{files: []string{"a/db"}}, err: "is not PATH=FILE"},
		"a file twice":          {flags: runFlags{files: []string{"a/db=x", "a/plain=./x"}}, err: "the file x is given twice"},
		"no properties":         {flags: runFlags{env: []string{"a/plain"}}, err: "--env NAME=a/plain"},
		"bytes in properties":   {flags: runFlags{env: []string{"a/latin"}}, err: "--env NAME=a/latin"},
		"a property of null":    {flags: runFlags{env: []string{"a/null"}}, err: `the property "host" of a/null is null`},
		"a missing property":    {flags: runFlags{env: []string{"X=a/db#host"}}, err: `has no property "host"`},
		"names with digits":     {flags: runFlags{env: []string{"a/digits"}}, err: `--env NAME=a/digits#1st`},
		"what the loader reads": {flags: runFlags{env: []string{"a/loader"}}, err: "by which whoever may write the secret decides what runs here; give --prefix, or name it: --env LD_PRELOAD=a/loader#ld-preload"},
		"the same, prefixed":    {flags: runFlags{env: []string{"a/loader"}, prefix: "X_"}, env: map[string]string{"X_LD_PRELOAD": "hidden"}},
		"the same, named":       {flags: runFlags{env: []string{"LD_PRELOAD=a/loader#ld-preload"}}, env: map[string]string{"LD_PRELOAD": "hidden"}},
		"names that meet":       {flags: runFlags{env: []string{"a/two"}}, err: "the variable A_B would be set twice"},
		"names given twice":     {flags: runFlags{env: []string{"USER=a/plain", "a/db"}}, err: "the variable USER would be set twice"},
		"a NUL":                 {flags: runFlags{env: []string{"a/properties"}}, err: "has a NUL byte"},
	} {
		t.Run(name, func(t *testing.T) {
			got := values{env: map[string]string{}, files: map[string][]byte{}}
			sources, err := test.flags.sources()
			if err == nil {
				got, err = sources.read(t.Context(), get)
			}
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "hidden") {
					t.Fatalf("got %v", err)
				}
				return
			}
			must(t, err)
			if len(test.env)+len(test.files) != len(got.env)+len(got.files) || len(test.env) > 0 && !cmp.Equal(test.env, got.env) || len(test.files) > 0 && !cmp.Equal(test.files, got.files) {
				t.Errorf("got %d variables and %d files, others than wanted", len(got.env), len(got.files))
			}
		})
	}
}

// Values that differ in a byte that is no UTF-8 are other values.
func TestRunDigest(t *testing.T) {
	seen := map[[32]byte]int{}
	for i, v := range []values{
		{}, {env: map[string]string{"A": "\xff"}}, {env: map[string]string{"A": "\xfe"}}, {env: map[string]string{"B": "\xff"}},
		{files: map[string][]byte{"A": []byte("\xff")}}, {files: map[string][]byte{"A": []byte("\xfe")}},
	} {
		if other, ok := seen[v.digest()]; ok {
			t.Errorf("values %d and %d are taken for the same", i, other)
		}
		seen[v.digest()] = i
	}
}

// Only other values than those that the process has end it, with SIGTERM.
func TestRunChanged(t *testing.T) {
	had := values{env: map[string]string{"A": "1"}}
	r := &supervisor{args: []string{"sleep", "60"}, err: t.Output(), change: reaction{restart: true}, digest: had.digest()}
	must(t, r.start(had))
	t.Cleanup(func() { _ = r.child.Process.Kill() })
	if r.changed(values{env: map[string]string{"A": "1"}, files: map[string][]byte{}}) || r.next != nil {
		t.Fatal("the process is started anew for the values that it has")
	}
	if !r.changed(values{env: map[string]string{"A": "2"}}) || r.next == nil || r.next.env["A"] != "2" {
		t.Fatal("the process is not started anew with other values")
	}
	<-r.done
	if code, ok := processExitCode(exitOf(r.child.ProcessState)); !ok || code != 128+15 {
		t.Errorf("the process ended with %d", code)
	}
	r.forward(os.Interrupt)
	if r.next != nil {
		t.Error("a process that a person ends would be started anew")
	}
	if r.changed(values{env: map[string]string{"A": "3"}}) || r.next != nil {
		t.Error("a process that is to end would be started anew for a change that comes while it does")
	}
}

// A process that goes on after a signal which asks for its end, as psql does after Ctrl-C, gets the changes that come meanwhile and
// afterwards.
func TestRunSurvivesAnInterrupt(t *testing.T) {
	var out testkit.Output
	signals, changes := make(chan os.Signal), make(chan struct{})
	var current atomic.Int64
	valuesNow := func() values { return values{env: map[string]string{"KEY": fmt.Sprint(current.Load())}} }
	first := valuesNow()
	r := &supervisor{
		args: []string{"sh", "-c", `trap "echo survives" INT; echo start $KEY; while :; do sleep 0.02; done`},
		out:  &out, err: t.Output(), change: reaction{restart: true}, stopTimeout: 2 * time.Second, signals: signals, changes: changes, digest: first.digest(),
		read: func(context.Context) (values, error) { return valuesNow(), nil },
	}
	ended := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { ended <- r.run(ctx, first) }()
	shows := func(line string) {
		t.Helper()
		look, deadline := time.NewTicker(10*time.Millisecond), time.After(time.Minute)
		defer look.Stop()
		for !strings.Contains(out.String(), line) {
			select {
			case <-look.C:
			case <-deadline:
				t.Fatalf("there is no %q in:\n%s", line, out.String())
			}
		}
	}
	interrupt := func() {
		signals <- os.Interrupt
		if inForeground() { // where the terminal would have sent it
			_ = r.child.Process.Signal(os.Interrupt)
		}
	}
	shows("start 0")
	interrupt()
	shows("survives")
	current.Store(1)
	changes <- struct{}{} // while it may be about to end
	shows("start 1")
	current.Store(2)
	changes <- struct{}{}
	shows("start 2")
	signals <- syscall.SIGTERM
	if code, ok := processExitCode(<-ended); !ok || code != 128+15 {
		t.Errorf("the process ended with %d", code)
	}
}

// Whoever asks for an end of a process that is about to be restarted takes the restart back, but a process that survives gets its values.
func TestRunRestartTakenBack(t *testing.T) {
	had, news := values{env: map[string]string{"A": "1"}}, values{env: map[string]string{"A": "2"}}
	r := &supervisor{args: []string{"sleep", "60"}, err: t.Output(), change: reaction{restart: true}, digest: had.digest()}
	must(t, r.start(had))
	t.Cleanup(func() { _ = r.child.Process.Kill() })
	if !r.changed(news) || !r.forward(syscall.SIGTERM) || r.next != nil {
		t.Fatal("the restart is not taken back")
	}
	r.ending = false // it survived
	if !r.changed(news) {
		t.Error("the values that it did not get count as those that it has")
	}
}

// Values whose files could not be written were not delivered: they are tried again.
func TestRunFilesCannotBeWritten(t *testing.T) {
	had := values{env: map[string]string{}}
	r := &supervisor{args: []string{"sleep", "60"}, err: t.Output(), change: reaction{restart: true}, digest: had.digest(), folder: folder("/dev/null/none")}
	must(t, r.start(had))
	t.Cleanup(func() { _ = r.child.Process.Kill() })
	news := values{files: map[string][]byte{"a": []byte("v")}}
	if r.changed(news) || r.digest == news.digest() {
		t.Error("values that were not delivered count as those that the process has")
	}
}

// The token is not the process's.
func TestRunKeepsTheToken(t *testing.T) {
	t.Setenv(sdk.EnvToken, "t")
	t.Setenv("OTHER", "o")
	var out bytes.Buffer
	r := &supervisor{args: []string{"env"}, out: &out, err: t.Output()}
	must(t, r.start(values{}))
	<-r.done
	if got := out.String(); strings.Contains(got, sdk.EnvToken+"=") || !strings.Contains(got, "OTHER=o") {
		t.Error("the process has the token, or not the rest of the environment")
	}
}
