package keyring_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit/keyservice"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
)

// addGolden names a pair of files to add, when a format that is written has changed.
// Files that are there stay: whatever keyset was once stored must load for ever.
var addGolden = flag.String("add-golden", "", "write a new keyset under each kind of root to testdata/<kind>-<name>.json")

// golden is a stored keyset and what is known of what is in it.
type golden struct {
	// Root is "passphrase", "keyfile", "kms" or "transit"; the keys of the first two are
	// samplePassphrase and 32 bytes 1, those of the others are package keyservice's.
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
		"kms":        kmsRoot(t, keyservice.StartKMS(t).Socket),
		"transit":    transitRoot(t, transitConfig(t, keyservice.StartTransit(t))),
	}
	if *addGolden != "" {
		for kind, root := range roots {
			writeGolden(t, kind, root)
		}
	}
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
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

func goldens(tb testing.TB) map[string]golden {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		tb.Fatalf("golden files %v, error %v", files, err)
	}
	all := map[string]golden{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		var g golden
		if err := json.Unmarshal(text, &g); err != nil {
			tb.Fatal(err)
		}
		all[filepath.Base(file)] = g
	}
	return all
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
		t.Logf("%s exists and stays: goldens are added, never replaced", file)
		return
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func unbase64(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
