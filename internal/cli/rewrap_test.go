package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// terminal is a pseudo terminal of 100 columns; the returned function gives all that was
// written to it, once nobody has it open any more.
func terminal(t *testing.T) (tty *os.File, shown func() string) {
	t.Helper()
	control, tty, err := pty.Open()
	must(t, err)
	must(t, pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: 100}))
	var written bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(&written, control)
		ended <- err
	}()
	return tty, func() string {
		must(t, tty.Close())
		// The end of a terminal is an input error.
		if err := <-ended; err != nil && !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		must(t, control.Close())
		return written.String()
	}
}

// frames are what a terminal showed in one line, one after the other, without what the
// machine's speed decides.
func frames(shown string) string {
	var all strings.Builder
	speed := regexp.MustCompile(`, [0-9.]+ versions/(s|min|hr)|\[[^\]]*s[^\]]*\]`)
	last := ""
	for frame := range strings.SplitSeq(strings.ReplaceAll(shown, "\n", ""), "\r") {
		frame = strings.TrimRight(speed.ReplaceAllString(frame, ""), " ")
		if frame == "" || frame == last {
			continue // wiped before it is drawn again
		}
		all.WriteString(frame + "\n")
		last = frame
	}
	return all.String()
}

// TestRewrapBar is what a person sees of a rewrap of several slices: the bar grows, also
// when writers add to what is to do, and is gone at the end.
func TestRewrapBar(t *testing.T) {
	tty, shown := terminal(t)
	s := &session{out: io.Discard, err: tty, now: time.Now}
	bar := s.showProgress("rewrapping", "versions")
	for _, at := range []struct{ done, total int64 }{{0, 12000}, {3000, 12000}, {6000, 12500}, {12500, 12500}} {
		bar.at(at.done, at.total)
	}
	bar.end()
	text := shown()
	compareGolden(t, filepath.Join("testdata", "golden", "rewrap-bar.txt"), []byte(frames(text)))
	if at := strings.LastIndex(strings.TrimRight(text, "\r"), "\r"); strings.TrimSpace(text[at+1:]) != "" {
		t.Errorf("the last line is not cleared: %q", text[at+1:])
	}
}

// coffer runs the program with stderr on a terminal.
func (i *installation) coffer(t *testing.T, token string, args ...string) (stdout, shown string) {
	t.Helper()
	tty, onTerminal := terminal(t)
	command := exec.CommandContext(t.Context(), "coffer", args...)
	command.Env = append(os.Environ(), "COFFER_ADDR="+i.url, "COFFER_CACERT="+i.caCert, "COFFER_TOKEN="+token)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, tty
	err := command.Run()
	shown = onTerminal()
	if err != nil {
		t.Fatalf("coffer %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), shown)
	}
	return out.String(), shown
}

// TestKeyIsReplacedUnderLoad is `coffer keyring rotate && coffer keyring rewrap` of the
// program itself against the server, while clients read and write over the API and a
// second replica serves. No read and no write fails, the rewrap shows a bar, and the old
// key is destroyed at the end; also by hand after a rewrap that kept it.
func TestKeyIsReplacedUnderLoad(t *testing.T) {
	i := install(t)
	keeper := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "security", Name: "api"}
	i.vault.AllowAll(t, keeper, "**", "sys/keyring")
	token := i.account(t, "security", "coffer")
	client, err := sdk.New(sdk.Config{Address: i.url, Token: token, CACert: i.caCert})
	must(t, err)
	replica := i.vault.Open(t)
	const paths = 40
	name := func(n int64) string { return fmt.Sprintf("load/%d", n%paths) }
	for n := range int64(paths) {
		i.vault.Put(t, name(n), "v")
	}

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var reads, writes atomic.Int64
	load := func(count *atomic.Int64, op func(n int64) error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := op(count.Add(1)); err != nil {
					t.Errorf("operation %d: %v", count.Load(), err)
					return
				}
			}
		})
	}
	overAPI := t.Context() // a request under way is finished
	load(&reads, func(n int64) error { _, err := client.Get(overAPI, name(n)); return err })
	load(&writes, func(n int64) error {
		_, err := client.Put(overAPI, name(n), sdk.PutRequest{Value: []byte("w")})
		return err
	})
	load(&reads, func(n int64) error {
		_, err := replica.Read(overAPI, i.vault.Admin, secret.Ref{Path: vaulttest.Path(t, name(n))})
		return err
	})
	defer wg.Wait()
	defer cancel()

	old := primary(t, client)
	for _, destroyed := range []struct {
		how    string
		rewrap []string
		after  func(key string)
	}{
		{"by rewrap", []string{"keyring", "rewrap"}, func(string) {}},
		{"by destroy", []string{"keyring", "rewrap", "--keep-old"}, func(key string) {
			if out, _ := i.coffer(t, token, "keyring", "destroy", key, "--yes"); !strings.Contains(out, "Key "+key+" is destroyed.") {
				t.Errorf("destroy says %q", out)
			}
		}},
	} {
		before := reads.Load() + writes.Load()
		if out, _ := i.coffer(t, token, "keyring", "rotate"); !strings.Contains(out, "2 replicas have it.") {
			t.Errorf("%s: rotate says %q", destroyed.how, out)
		}
		out, shown := i.coffer(t, token, destroyed.rewrap...)
		if !strings.Contains(out, "versions are rewrapped.") {
			t.Errorf("%s: rewrap says %q", destroyed.how, out)
		}
		if bar := frames(shown); !strings.HasPrefix(bar, "rewrapping ") || !strings.Contains(bar, "% |") {
			t.Errorf("%s: the terminal shows no bar: %q", destroyed.how, shown)
		}
		destroyed.after(keyName(old))
		status, err := client.KeyringStatus(t.Context())
		must(t, err)
		if len(status.Keys) != 1 || status.Keys[0].ID == old || status.Keys[0].State != sdk.KeyPrimary {
			t.Errorf("%s: the keys are %+v, and the old one was %d", destroyed.how, status.Keys, old)
		}
		old = primary(t, client)
		if reads.Load()+writes.Load() == before {
			t.Errorf("%s: nobody read or wrote meanwhile", destroyed.how)
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d reads and %d writes meanwhile", reads.Load(), writes.Load())
}

func primary(t *testing.T, client *sdk.Client) uint32 {
	t.Helper()
	status, err := client.KeyringStatus(t.Context())
	must(t, err)
	for _, k := range status.Keys {
		if k.State == sdk.KeyPrimary {
			return k.ID
		}
	}
	t.Fatal("no key is primary")
	return 0
}
