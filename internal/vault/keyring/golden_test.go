package keyring_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/keyring"
)

// addGolden names a pair of files to add, when a format that is written has changed.
// Files that are there stay: whatever keyset was once stored must load for ever.
var addGolden = flag.String("add-golden", "", "write a new keyset under each kind of root to testdata/<kind>-<name>.json")

// golden is a stored keyset and what is known of what is in it.
type golden struct {
	// Root is "passphrase" or "keyfile"; their keys are samplePassphrase and 32 bytes 1.
	Root string
	// WrappedKeyset and WrappedKey are base64; the data key is 32 zero bytes.
	WrappedKeyset, WrappedKey string
	// MAC is hex, for purpose "golden" and the part "a".
	MAC string
}

func TestGoldenKeysetsLoad(t *testing.T) {
	passphrase, err := keyring.PassphraseRoot([]byte(samplePassphrase))
	if err != nil {
		t.Fatal(err)
	}
	roots := map[string]keyring.Root{
		"passphrase": passphrase,
		"keyfile":    fileRoot(t, line("current", 1)),
	}
	if *addGolden != "" {
		for kind, root := range roots {
			writeGolden(t, kind, root)
		}
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files %v, error %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(text, &g); err != nil {
				t.Fatal(err)
			}
			ring := load(t, roots[g.Root], unbase64(t, g.WrappedKeyset))
			if got := ring.MAC("golden", []byte("a")); hex.EncodeToString(got[:]) != g.MAC {
				t.Errorf("MAC %x, want %s", got, g.MAC)
			}
			dek, err := ring.Unwrap(t.Context(), unbase64(t, g.WrappedKey), testAAD)
			if err != nil {
				t.Fatal(err)
			}
			if string(dek) != string(make([]byte, 32)) {
				t.Error("unwrapped to another data key")
			}
		})
	}
}

func writeGolden(t *testing.T, kind string, root keyring.Root) {
	t.Helper()
	wrapped, err := keyring.Generate(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	ring := load(t, root, wrapped)
	mac := ring.MAC("golden", []byte("a"))
	text, err := json.MarshalIndent(golden{
		Root: kind, WrappedKeyset: base64.StdEncoding.EncodeToString(wrapped),
		WrappedKey: base64.StdEncoding.EncodeToString(wrap(t, ring)), MAC: hex.EncodeToString(mac[:]),
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", kind+"-"+*addGolden+".json")
	if _, err := os.Stat(file); err == nil {
		t.Fatalf("%s exists: goldens are added, never replaced", file)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
