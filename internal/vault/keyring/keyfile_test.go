package keyring_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/keyring"
)

// rootKeyIDOf1 is the id of the root key of 32 bytes 1, computed outside this program
// (Python's hmac).
const rootKeyIDOf1 = "b50f29ea69a601de"

func TestKeyFileReplacesTheRootKey(t *testing.T) {
	before := fileRoot(t, line("current", 1))
	wrapped, err := keyring.Generate(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	ring := load(t, before, wrapped)
	during := load(t, fileRoot(t, line("current", 2), line("previous", 1)), wrapped)
	if ring.MAC("p") != during.MAC("p") {
		t.Error("the previous root key opened another keyset")
	}
	if _, err := during.Unwrap(t.Context(), wrap(t, ring), testAAD); err != nil {
		t.Errorf("a data key wrapped before: %v", err)
	}
}

func TestKeyFileWithoutTheRightKeySaysWhichItIs(t *testing.T) {
	wrapped, err := keyring.Generate(t.Context(), fileRoot(t, line("current", 1)))
	if err != nil {
		t.Fatal(err)
	}
	for name, root := range map[string]keyring.Root{
		"other current":              fileRoot(t, line("current", 2)),
		"other current and previous": fileRoot(t, line("previous", 3), line("current", 2)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keyring.Load(t.Context(), root, wrapped)
			if !errors.Is(err, keyring.ErrRootKey) {
				t.Fatalf("error %v, want ErrRootKey", err)
			}
			if !strings.Contains(err.Error(), "as previous") || !strings.Contains(err.Error(), rootKeyIDOf1) {
				t.Errorf("the error %q does not say which key is missing and what to do", err)
			}
		})
	}
}

func TestKeyFileFormats(t *testing.T) {
	k1, k2 := line("current", 1), line("previous", 2)
	for name, lines := range map[string][]string{
		"current":               {k1},
		"both":                  {k1, k2},
		"both, other order":     {k2, k1},
		"comments, blank lines": {"# made 2026-11-24\n", "\n", "  " + k1, "\r\n", k2},
		"no newline at the end": {strings.TrimSuffix(k1, "\n")},
		"Windows line ends":     {strings.ReplaceAll(k1+k2, "\n", "\r\n")},
		"no space":              {strings.ReplaceAll(k1, ": ", ":")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := keyring.KeyFileRoot(writeKeyFile(t, 0o400, lines...)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestKeyFileRefusals(t *testing.T) {
	k1 := line("current", 1)
	short := "current: " + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n"
	long := "current: " + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\n"
	for name, tc := range map[string]struct {
		lines []string
		want  string
	}{
		"empty":             {nil, "no current key"},
		"only previous":     {[]string{line("previous", 1)}, "no current key"},
		"two current":       {[]string{k1, k1}, "line 2 gives the current key a second time"},
		"bare key":          {[]string{strings.TrimPrefix(k1, "current: ")}, "line 1 begins with neither"},
		"unknown name":      {[]string{k1, line("next", 1)}, "line 2 begins with neither"},
		"upper case":        {[]string{line("Current", 1)}, "line 1 begins with neither"},
		"31 bytes":          {[]string{short}, "has 31 bytes, not 32"},
		"33 bytes":          {[]string{long}, "has 33 bytes, not 32"},
		"no key":            {[]string{"current:\n"}, "has 0 bytes, not 32"},
		"not base64":        {[]string{"current: !!!!\n"}, "is not base64"},
		"loose base64 bits": {[]string{strings.Replace(k1, "E=", "F=", 1)}, "is not base64"},
		"too large":         {[]string{k1, "#" + strings.Repeat("x", 16<<10)}, "more than 16384 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			file := writeKeyFile(t, 0o400, tc.lines...)
			_, err := keyring.KeyFileRoot(file)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("error %q does not say %q and the file", err, tc.want)
			}
			if strings.Contains(err.Error(), "AQEBAQ") {
				t.Errorf("error %q holds part of a key", err)
			}
		})
	}
}

func TestKeyFileModes(t *testing.T) {
	for mode, allowed := range map[os.FileMode]bool{
		0o400: true, 0o600: true, 0o440: true, 0o640: true, 0o660: true,
		0o404: false, 0o444: false, 0o644: false, 0o402: false, 0o401: false, 0o777: false,
	} {
		_, err := keyring.KeyFileRoot(writeKeyFile(t, mode, line("current", 1)))
		if allowed != (err == nil) {
			t.Errorf("mode %#o: error %v, want allowed %v", mode, err, allowed)
		}
		if !allowed && err != nil && !strings.Contains(err.Error(), "chmod 0400") {
			t.Errorf("mode %#o: error %q does not say what to do", mode, err)
		}
	}
}

func TestKeyFileIsAFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.KeyFileRoot(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: error %v", err)
	}
	if _, err := keyring.KeyFileRoot(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "head -c32 /dev/urandom | base64") {
		t.Errorf("no file: error %v, want one that says how to make it", err)
	}
	// The kubelet shows a Secret's keys as symbolic links.
	link := filepath.Join(dir, "link")
	if err := os.Symlink(writeKeyFile(t, 0o440, line("current", 1)), link); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.KeyFileRoot(link); err != nil {
		t.Errorf("a link to a key file: %v", err)
	}
}
