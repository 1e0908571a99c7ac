package envelope_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
)

// addGolden names a file to add, when the format that is written has changed. Files
// that are there stay: whatever was once sealed must open for ever.
var addGolden = flag.String("add-golden", "", "seal the sample under a new keyset and write it to testdata/<name>.json")

// golden is a sealed version with all that it takes to open it. Byte slices are
// base64 in the file.
type golden struct {
	RootKey       []byte
	WrappedKeyset []byte
	Vault, Secret []byte
	Path          string
	Version       int64
	WrappedKey    []byte
	Box           []byte
	Plaintext     string
}

func TestGoldenVersionsOpen(t *testing.T) {
	if *addGolden != "" {
		writeGolden(t, *addGolden)
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files %v, error %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			g := readGolden(t, file)
			got, err := envelope.Open(t.Context(), g.ring(t), g.binding(t), g.sealed())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(g.Plaintext, string(got)); diff != "" {
				t.Errorf("plaintext (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzOpen looks for bytes other than the sealed ones that open.
func FuzzOpen(f *testing.F) {
	g := readGolden(f, "testdata/suite1.json")
	ring, binding := g.ring(f), g.binding(f)
	f.Add(g.WrappedKey, g.Box)
	f.Add(g.WrappedKey, g.Box[:60])
	f.Add(g.WrappedKey[:5], g.Box)
	f.Add([]byte(nil), []byte{1})
	f.Fuzz(func(t *testing.T, wrappedKey, box []byte) {
		if bytes.Equal(wrappedKey, g.WrappedKey) && bytes.Equal(box, g.Box) {
			return
		}
		mustNotOpen(t, ring, binding, envelope.Sealed{WrappedKey: wrappedKey, Box: box})
	})
}

func readGolden(tb testing.TB, file string) golden {
	tb.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		tb.Fatal(err)
	}
	return g
}

func (g golden) ring(tb testing.TB) *keyring.Ring {
	tb.Helper()
	ring, err := keyring.Load(tb.Context(), keyFileRoot(tb, g.RootKey), g.WrappedKeyset)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

func (g golden) binding(tb testing.TB) envelope.Binding {
	tb.Helper()
	return envelope.Binding{
		Vault: [16]byte(g.Vault), Secret: [16]byte(g.Secret), Path: parsePath(tb, g.Path), Version: g.Version,
	}
}

func (g golden) sealed() envelope.Sealed {
	return envelope.Sealed{WrappedKey: g.WrappedKey, Box: g.Box}
}

func writeGolden(t *testing.T, name string) {
	g := golden{
		RootKey: bytes.Repeat([]byte{7}, 32), Vault: bytes.Repeat([]byte{1}, 16), Secret: bytes.Repeat([]byte{2}, 16),
		Path: "production/payments/database", Version: 7, Plaintext: `{"user":"sample","password":"opensesame"}`,
	}
	wrapped, err := keyring.Generate(t.Context(), keyFileRoot(t, g.RootKey))
	if err != nil {
		t.Fatal(err)
	}
	g.WrappedKeyset = wrapped
	sealed, err := envelope.Seal(t.Context(), g.ring(t), g.binding(t), []byte(g.Plaintext))
	if err != nil {
		t.Fatal(err)
	}
	g.WrappedKey, g.Box = sealed.WrappedKey, sealed.Box
	text, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join("testdata", name+".json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(append(text, '\n')); err != nil {
		t.Fatal(err)
	}
}
