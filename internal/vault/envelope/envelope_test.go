package envelope_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// newRing is a real keyring with new keys.
func newRing(tb testing.TB) *keyring.Ring {
	tb.Helper()
	root := keyFileRoot(tb, make([]byte, 32))
	wrapped, err := keyring.Generate(tb.Context(), root)
	if err != nil {
		tb.Fatal(err)
	}
	ring, err := keyring.Load(tb.Context(), root, wrapped)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

func keyFileRoot(tb testing.TB, key []byte) keyring.Root {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "root.key")
	line := "current: " + base64.StdEncoding.EncodeToString(key) + "\n"
	if err := os.WriteFile(file, []byte(line), 0o400); err != nil {
		tb.Fatal(err)
	}
	root, err := keyring.KeyFileRoot(file)
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

func parsePath(tb testing.TB, s string) secret.Path {
	tb.Helper()
	path, err := secret.ParsePath(s)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func testBinding(tb testing.TB) envelope.Binding {
	return envelope.Binding{
		Vault: [16]byte{1}, Secret: [16]byte{2}, Path: parsePath(tb, "production/payments/database"), Version: 7,
	}
}

func TestOpenGivesWhatSealTook(t *testing.T) {
	ring := newRing(t)
	rapid.Check(t, func(t *rapid.T) {
		b := envelope.Binding{
			Vault:   [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "vault")),
			Secret:  [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "secret")),
			Path:    drawPath(t),
			Version: rapid.Int64Min(1).Draw(t, "version"),
		}
		plaintext := rapid.SliceOfN(rapid.Byte(), 0, 4096).Draw(t, "plaintext")
		sealed, err := envelope.Seal(context.Background(), ring, b, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		got, err := envelope.Open(context.Background(), ring, b, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, plaintext) {
			t.Fatal("opened to other bytes than were sealed")
		}
	})
}

func drawPath(t *rapid.T) secret.Path {
	path, err := secret.ParsePath(rapid.StringMatching(`[a-z0-9_-]{1,20}(/[a-z0-9_-]{1,20}){0,7}`).Draw(t, "path"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSealTwiceGivesUnrelatedBytes(t *testing.T) {
	ring, b := newRing(t), testBinding(t)
	first, second := seal(t, ring, b), seal(t, ring, b)
	if bytes.Equal(first.WrappedKey, second.WrappedKey) || bytes.Equal(first.Box[1:33], second.Box[1:33]) {
		t.Error("two versions share a data key")
	}
}

func TestSealNeedsAVersion(t *testing.T) {
	valid := testBinding(t)
	for name, b := range map[string]envelope.Binding{
		"no path":          {Vault: valid.Vault, Secret: valid.Secret, Version: 1},
		"version 0":        {Vault: valid.Vault, Secret: valid.Secret, Path: valid.Path},
		"negative version": {Vault: valid.Vault, Secret: valid.Secret, Path: valid.Path, Version: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := envelope.Seal(t.Context(), newRing(t), b, nil); err == nil {
				t.Error("sealed all the same")
			}
		})
	}
}

// TestEveryBitCounts flips each bit of both parts in turn.
func TestEveryBitCounts(t *testing.T) {
	ring, b := newRing(t), testBinding(t)
	sealed := seal(t, ring, b)
	for bit := range len(sealed.WrappedKey) * 8 {
		mustNotOpen(t, ring, b, envelope.Sealed{WrappedKey: flip(sealed.WrappedKey, bit), Box: sealed.Box})
	}
	for bit := range len(sealed.Box) * 8 {
		mustNotOpen(t, ring, b, envelope.Sealed{WrappedKey: sealed.WrappedKey, Box: flip(sealed.Box, bit)})
	}
}

func TestEveryLengthCounts(t *testing.T) {
	ring, b := newRing(t), testBinding(t)
	sealed := seal(t, ring, b)
	for n := range sealed.WrappedKey {
		mustNotOpen(t, ring, b, envelope.Sealed{WrappedKey: sealed.WrappedKey[:n], Box: sealed.Box})
	}
	for n := range sealed.Box {
		mustNotOpen(t, ring, b, envelope.Sealed{WrappedKey: sealed.WrappedKey, Box: sealed.Box[:n]})
	}
	mustNotOpen(t, ring, b, envelope.Sealed{WrappedKey: append(bytes.Clone(sealed.WrappedKey), 0), Box: sealed.Box})
	mustNotOpen(t, ring, b, envelope.Sealed{WrappedKey: sealed.WrappedKey, Box: append(bytes.Clone(sealed.Box), 0)})
	mustNotOpen(t, ring, b, envelope.Sealed{})
}

func TestEveryFieldOfTheBindingCounts(t *testing.T) {
	ring, b := newRing(t), testBinding(t)
	sealed := seal(t, ring, b)
	for bit := range 128 {
		other := b
		other.Vault[bit/8] ^= 1 << (bit % 8)
		mustNotOpen(t, ring, other, sealed)
		other = b
		other.Secret[bit/8] ^= 1 << (bit % 8)
		mustNotOpen(t, ring, other, sealed)
	}
	for bit := range 64 {
		other := b
		other.Version ^= 1 << bit
		mustNotOpen(t, ring, other, sealed)
	}
	for _, path := range []string{"production/payments/databas", "production/payments/database/a", "production/payments-database", "x"} {
		other := b
		other.Path = parsePath(t, path)
		mustNotOpen(t, ring, other, sealed)
	}
	mustNotOpen(t, ring, envelope.Binding{}, sealed)
}

// TestPartsOfTwoVersionsDoNotMix is the swap that someone who writes to the database
// can do.
func TestPartsOfTwoVersionsDoNotMix(t *testing.T) {
	ring, b := newRing(t), testBinding(t)
	first, again := seal(t, ring, b), seal(t, ring, b)
	mustNotOpen(t, ring, b, envelope.Sealed{WrappedKey: first.WrappedKey, Box: again.Box})
	mustNotOpen(t, newRing(t), b, first)
}

func TestAnotherRingDoesNotOpen(t *testing.T) {
	b := testBinding(t)
	mustNotOpen(t, newRing(t), b, seal(t, newRing(t), b))
}

// awayWrapper is a key wrapper whose keys are elsewhere, and cannot be reached.
type awayWrapper struct{ err error }

func (w awayWrapper) Wrap(context.Context, []byte, []byte) ([]byte, error)   { return nil, w.err }
func (w awayWrapper) Unwrap(context.Context, []byte, []byte) ([]byte, error) { return nil, w.err }

func TestUnavailableIsNotTampered(t *testing.T) {
	sealed := seal(t, newRing(t), testBinding(t))
	for _, want := range []error{secret.ErrUnavailable, context.Canceled, context.DeadlineExceeded} {
		t.Run(want.Error(), func(t *testing.T) {
			_, err := envelope.Open(t.Context(), awayWrapper{want}, testBinding(t), sealed)
			if !errors.Is(err, want) || errors.Is(err, secret.ErrTampered) {
				t.Errorf("open: error %v, want %v and not ErrTampered", err, want)
			}
			if _, err := envelope.Seal(t.Context(), awayWrapper{want}, testBinding(t), nil); !errors.Is(err, want) {
				t.Errorf("seal: error %v, want %v", err, want)
			}
		})
	}
	if _, err := envelope.Open(t.Context(), awayWrapper{errors.New("no")}, testBinding(t), sealed); !errors.Is(err, secret.ErrTampered) {
		t.Errorf("any other error: %v, want ErrTampered", err)
	}
}

// keepingWrapper keeps the data keys it saw, as they are in memory.
type keepingWrapper struct {
	envelope.KeyWrapper
	kept [][]byte
}

func (w *keepingWrapper) Wrap(ctx context.Context, dek, aad []byte) ([]byte, error) {
	w.kept = append(w.kept, dek)
	return w.KeyWrapper.Wrap(ctx, dek, aad)
}

func (w *keepingWrapper) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	dek, err := w.KeyWrapper.Unwrap(ctx, wrapped, aad)
	w.kept = append(w.kept, dek)
	return dek, err
}

func TestDataKeysAreCleared(t *testing.T) {
	w, b := &keepingWrapper{KeyWrapper: newRing(t)}, testBinding(t)
	sealed := seal(t, w, b)
	if _, err := envelope.Open(t.Context(), w, b, sealed); err != nil {
		t.Fatal(err)
	}
	mustNotOpen(t, w, b, envelope.Sealed{WrappedKey: sealed.WrappedKey, Box: flip(sealed.Box, 0)})
	if len(w.kept) != 3 {
		t.Fatalf("saw %d data keys, want 3", len(w.kept))
	}
	for i, dek := range w.kept {
		if !bytes.Equal(dek, make([]byte, 32)) {
			t.Errorf("data key %d is still in memory", i)
		}
	}
}

func seal(tb testing.TB, w envelope.KeyWrapper, b envelope.Binding) envelope.Sealed {
	tb.Helper()
	sealed, err := envelope.Seal(tb.Context(), w, b, []byte("opensesame"))
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

// mustNotOpen checks that Open fails, and with the one error of all failures.
func mustNotOpen(tb testing.TB, w envelope.KeyWrapper, b envelope.Binding, s envelope.Sealed) {
	tb.Helper()
	plaintext, err := envelope.Open(tb.Context(), w, b, s)
	if !errors.Is(err, secret.ErrTampered) {
		tb.Fatalf("error %v, want ErrTampered", err)
	}
	if want := "open a sealed version: " + secret.ErrTampered.Error(); err.Error() != want {
		tb.Fatalf("the error says %q, want %q whatever failed", err, want)
	}
	if plaintext != nil {
		tb.Fatal("gave plaintext besides the error")
	}
}

func flip(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}
