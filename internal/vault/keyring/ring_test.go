package keyring_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// shelf is where a keyset is stored.
type shelf struct{ wrapped []byte }

func (s *shelf) read(context.Context) ([]byte, error) { return s.wrapped, nil }

// TestAnySequenceKeepsWhatIsStored: whatever becomes of the keys, each data key opens
// while its key is in the keyset, on a ring that follows and on one that is opened anew.
func TestAnySequenceKeepsWhatIsStored(t *testing.T) {
	root := fileRoot(t, line("current", 1))
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		wrapped, err := keyring.Generate(ctx, root)
		if err != nil {
			t.Fatal(err)
		}
		stored := &shelf{wrapped}
		ring, err := keyring.Follow(ctx, root, stored.read)
		if err != nil {
			t.Fatal(err)
		}
		mac := ring.MAC("p", []byte("a"))
		var data [][]byte
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			k := ring.Keyset()
			id := rapid.SampledFrom(k.Keys()).Draw(t, "key")
			var next *keyring.Keyset
			switch rapid.SampledFrom([]string{"add", "promote", "remove", "wrap"}).Draw(t, "step") {
			case "add":
				next, _, err = k.Add()
			case "promote":
				next, err = k.Promote(id)
			case "remove":
				if id == k.Primary() {
					if _, err := k.Remove(id); err == nil {
						t.Fatal("the primary key was removed")
					}
					continue
				}
				next, err = k.Remove(id)
			default:
				w, err := ring.Wrap(ctx, make([]byte, 32), testAAD)
				if err != nil {
					t.Fatal(err)
				}
				data = append(data, w)
				continue
			}
			if err != nil || next.Revision() != k.Revision()+1 {
				t.Fatalf("revision %d after %d, %v", next.Revision(), k.Revision(), err)
			}
			if stored.wrapped, err = ring.Seal(ctx, next); err != nil {
				t.Fatal(err)
			}
			if err := ring.Reload(ctx); err != nil {
				t.Fatal(err)
			}
			fresh, err := keyring.Load(ctx, root, stored.wrapped)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []*keyring.Ring{ring, fresh} {
				for _, w := range data {
					switch _, err := r.Unwrap(ctx, w, testAAD); {
					case r.Holds(w) && err != nil:
						t.Fatalf("a data key whose key is there: %v", err)
					case !r.Holds(w) && !errors.Is(err, keyring.ErrUnknownKey):
						t.Fatalf("a data key whose key is gone: %v", err)
					}
				}
				if r.MAC("p", []byte("a")) != mac {
					t.Fatal("the MAC changed")
				}
			}
		}
	})
}

// TestRingFindsANewKeyByItself: a ring that was not reloaded opens what a newer one
// wrapped.
func TestRingFindsANewKeyByItself(t *testing.T) {
	root := fileRoot(t, line("current", 1))
	wrapped, err := keyring.Generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	stored := &shelf{wrapped}
	sleeper, err := keyring.Follow(t.Context(), root, stored.read)
	if err != nil {
		t.Fatal(err)
	}
	added, id, err := sleeper.Keyset().Add()
	if err != nil {
		t.Fatal(err)
	}
	promoted, err := added.Promote(id)
	if err != nil {
		t.Fatal(err)
	}
	if stored.wrapped, err = sleeper.Seal(t.Context(), promoted); err != nil {
		t.Fatal(err)
	}
	w := wrap(t, load(t, root, stored.wrapped))
	if _, err := sleeper.Unwrap(t.Context(), w, testAAD); err != nil {
		t.Errorf("unwrap: %v", err)
	}
	if got := sleeper.Keyset().Revision(); got != 3 {
		t.Errorf("revision %d, want 3", got)
	}
	stored.wrapped = wrapped
	if err := sleeper.Reload(t.Context()); !errors.Is(err, secret.ErrTampered) {
		t.Errorf("an older keyset: %v", err)
	}
	if stored.wrapped, err = keyring.Generate(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if err := sleeper.Reload(t.Context()); !errors.Is(err, secret.ErrTampered) {
		t.Errorf("another vault's keyset: %v", err)
	}
	if _, err := sleeper.Unwrap(t.Context(), w, testAAD); err != nil {
		t.Errorf("the keys in use did not stay: %v", err)
	}
}

// FuzzStoredKeyset: whatever is stored, it opens to the keyset that was made or is
// refused as what the root key does not open.
func FuzzStoredKeyset(f *testing.F) {
	root := fileRoot(f, line("current", 1))
	wrapped, err := keyring.Generate(f.Context(), root)
	if err != nil {
		f.Fatal(err)
	}
	good := [][]byte{wrapped}
	files, err := filepath.Glob("testdata/keyfile-format*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("golden files %v, %v", files, err)
	}
	for _, file := range files {
		good = append(good, goldenKeyset(f, file))
	}
	for _, g := range good {
		f.Add(g)
		f.Add(g[:len(g)-1])
	}
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, stored []byte) {
		_, err := keyring.Open(t.Context(), root, stored)
		known := false
		for _, g := range good {
			known = known || bytes.Equal(g, stored)
		}
		if known != (err == nil) || err != nil && !errors.Is(err, keyring.ErrRootKey) {
			t.Errorf("known %v: %v", known, err)
		}
	})
}

func goldenKeyset(tb testing.TB, file string) []byte {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var g struct{ WrappedKeyset []byte }
	if err := json.Unmarshal(text, &g); err != nil {
		tb.Fatal(err)
	}
	return g.WrappedKeyset
}
