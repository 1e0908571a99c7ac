package keyring_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

var testAAD = []byte("\x01what a data key is bound to")

func TestRingUnwrapsWhatItWrapped(t *testing.T) {
	ring := generate(t, fileRoot(t, line("current", 1)))
	rapid.Check(t, func(t *rapid.T) {
		dek := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "data key")
		aad := append([]byte{1}, rapid.SliceOf(rapid.Byte()).Draw(t, "aad")...)
		wrapped, err := ring.Wrap(context.Background(), dek, aad)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ring.Unwrap(context.Background(), wrapped, aad)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, dek) {
			t.Fatal("unwrapped to another data key")
		}
		if _, err := ring.Unwrap(context.Background(), wrapped, append(aad, 0)); err == nil {
			t.Fatal("unwrapped under other associated data")
		}
	})
}

func TestRingUnwrapsNothingChanged(t *testing.T) {
	ring := generate(t, fileRoot(t, line("current", 1)))
	wrapped := wrap(t, ring)
	for bit := range len(wrapped) * 8 {
		if _, err := ring.Unwrap(t.Context(), flip(wrapped, bit), testAAD); err == nil {
			t.Fatalf("unwrapped with bit %d flipped", bit)
		}
	}
	if _, err := generate(t, fileRoot(t, line("current", 1))).Unwrap(t.Context(), wrapped, testAAD); err == nil {
		t.Fatal("another ring unwrapped it")
	}
}

func TestRingKeepsAssociatedDataForItself(t *testing.T) {
	ring := generate(t, fileRoot(t, line("current", 1)))
	for _, aad := range [][]byte{nil, {}, {0}, []byte("\x00coffer/mac-secret/1")} {
		if _, err := ring.Wrap(t.Context(), make([]byte, 32), aad); err == nil {
			t.Errorf("wrapped with associated data %q", aad)
		}
		if _, err := ring.Unwrap(t.Context(), wrap(t, ring), aad); err == nil {
			t.Errorf("unwrapped with associated data %q", aad)
		}
	}
}

func TestRingHeedsTheContext(t *testing.T) {
	ring := generate(t, fileRoot(t, line("current", 1)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ring.Unwrap(ctx, wrap(t, ring), testAAD); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// TestEveryBitOfTheKeysetCounts also covers the root's wrap inside it.
func TestEveryBitOfTheKeysetCounts(t *testing.T) {
	root := fileRoot(t, line("current", 1))
	wrapped, err := keyring.Generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(wrapped) * 8 {
		if _, err := keyring.Load(t.Context(), root, flip(wrapped, bit)); !errors.Is(err, keyring.ErrRootKey) {
			t.Fatalf("bit %d flipped: error %v, want ErrRootKey", bit, err)
		}
	}
	for n := range wrapped {
		if _, err := keyring.Load(t.Context(), root, wrapped[:n]); !errors.Is(err, keyring.ErrRootKey) {
			t.Fatalf("first %d bytes: error %v, want ErrRootKey", n, err)
		}
	}
	if _, err := keyring.Load(t.Context(), root, append(wrapped, 0)); !errors.Is(err, keyring.ErrRootKey) {
		t.Fatalf("a byte more: error %v, want ErrRootKey", err)
	}
}

// TestHalvesOfTwoKeysetsDoNotMix puts the keys of one keyset beside the MAC secret of
// another, both wrapped by the same root.
func TestHalvesOfTwoKeysetsDoNotMix(t *testing.T) {
	root := fileRoot(t, line("current", 1))
	first, err := keyring.Generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	second, err := keyring.Generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	const header = 1 + 8 // format and revision
	length := first[header:]
	split := header + 3 + int(length[0])<<16 + int(length[1])<<8 + int(length[2])
	if _, err := keyring.Load(t.Context(), root, append(bytes.Clone(first[:split]), second[split:]...)); !errors.Is(err, keyring.ErrRootKey) {
		t.Errorf("error %v, want ErrRootKey", err)
	}
}

func TestKeysetIsNotReadable(t *testing.T) {
	root := &plainRoot{}
	wrapped, err := keyring.Generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	// Under a root that does not encrypt, the keyset shows; nothing else may.
	wrapped = bytes.ReplaceAll(wrapped, root.seen, nil)
	if bytes.Contains(wrapped, []byte("type.googleapis.com")) || bytes.Contains(wrapped, []byte("tink")) {
		t.Error("part of the keyset is stored beside what the root wrapped")
	}
}

// plainRoot wraps nothing, so that a test sees what it is given.
type plainRoot struct{ seen []byte }

func (r *plainRoot) Wrap(_ context.Context, plaintext, _ []byte) ([]byte, error) {
	r.seen = bytes.Clone(plaintext)
	return r.seen, nil
}

func (*plainRoot) Unwrap(_ context.Context, wrapped, _ []byte) ([]byte, error) {
	return wrapped, nil
}

// awayRoot cannot be reached.
type awayRoot struct{ err error }

func (r awayRoot) Wrap(context.Context, []byte, []byte) ([]byte, error)   { return nil, r.err }
func (r awayRoot) Unwrap(context.Context, []byte, []byte) ([]byte, error) { return nil, r.err }

func TestRootErrorsKeepTheirIdentity(t *testing.T) {
	wrapped, err := keyring.Generate(t.Context(), fileRoot(t, line("current", 1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{secret.ErrUnavailable, context.DeadlineExceeded} {
		if _, err := keyring.Generate(t.Context(), awayRoot{want}); !errors.Is(err, want) {
			t.Errorf("generate: error %v, want %v", err, want)
		}
		if _, err := keyring.Load(t.Context(), awayRoot{want}, wrapped); !errors.Is(err, want) {
			t.Errorf("load: error %v, want %v", err, want)
		}
	}
}

func generate(tb testing.TB, root keyring.Root) *keyring.Ring {
	tb.Helper()
	wrapped, err := keyring.Generate(tb.Context(), root)
	if err != nil {
		tb.Fatal(err)
	}
	return load(tb, root, wrapped)
}

func load(tb testing.TB, root keyring.Root, wrapped []byte) *keyring.Ring {
	tb.Helper()
	ring, err := keyring.Load(tb.Context(), root, wrapped)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

func wrap(tb testing.TB, ring *keyring.Ring) []byte {
	tb.Helper()
	wrapped, err := ring.Wrap(tb.Context(), make([]byte, 32), testAAD)
	if err != nil {
		tb.Fatal(err)
	}
	return wrapped
}

// line is a line of a key file with a key of 32 equal bytes.
func line(name string, b byte) string {
	return name + ": " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) + "\n"
}

func fileRoot(tb testing.TB, lines ...string) keyring.Root {
	tb.Helper()
	root, err := keyring.KeyFileRoot(writeKeyFile(tb, 0o400, lines...))
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

func writeKeyFile(tb testing.TB, mode os.FileMode, lines ...string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "root.key")
	var text []byte
	for _, l := range lines {
		text = append(text, l...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		tb.Fatal(err)
	}
	return file
}

func flip(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}
