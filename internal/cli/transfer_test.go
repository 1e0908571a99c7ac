package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// TestBackupShowsProgress: on a terminal a backup shows how much it has written, and a restore how far the file is read; at the end
// nothing of it stands there.
func TestBackupShowsProgress(t *testing.T) {
	i := install(t)
	keeper := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "security", Name: "api"}
	i.vault.AllowAll(t, keeper, "sys/backup")
	token := i.account(t, "security", "coffer")
	key, err := age.GenerateX25519Identity()
	must(t, err)
	folder := t.TempDir()
	file, identity := filepath.Join(folder, "vault.age"), filepath.Join(folder, "identity.txt")
	must(t, os.WriteFile(identity, []byte(key.String()+"\n"), 0o600))
	_, shown := i.coffer(t, token, "backup", "--recipient", key.Recipient().String(), "--file", file)
	wantShown(t, shown, "backing up")
	_, shown = i.coffer(t, token, "restore", "--identity", identity, "--verify-only", file)
	wantShown(t, shown, "verifying")
}

// TestReadingsAreShown: a restore verifies the whole file before it begins.
func TestReadingsAreShown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "backup")
	must(t, os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o600))
	f, err := os.Open(file)
	must(t, err)
	defer func() { _ = f.Close() }()
	tty, shown := terminal(t)
	s := &session{err: tty, now: time.Now}
	reading, err := s.showReading(f, "verifying", "restoring")
	must(t, err)
	for range 2 {
		n, err := io.Copy(io.Discard, struct{ io.Reader }{reading})
		must(t, err)
		if n != 1<<20 {
			t.Errorf("%d bytes", n)
		}
		_, err = reading.Seek(0, io.SeekStart)
		must(t, err)
	}
	reading.show.end()
	wantShown(t, shown(), "verifying", "restoring")
}

// wantShown wants the bars in their order, and none at the end.
func wantShown(t *testing.T, shown string, doing ...string) {
	t.Helper()
	rest := shown
	for _, what := range doing {
		_, after, found := strings.Cut(rest, what)
		if !found {
			t.Errorf("the terminal does not show %q: %q", what, shown)
		}
		rest = after
	}
	if at := strings.LastIndex(strings.TrimRight(shown, "\r"), "\r"); strings.TrimSpace(shown[at+1:]) != "" {
		t.Errorf("the last line is not cleared: %q", shown[at+1:])
	}
}
