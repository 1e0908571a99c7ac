package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

// sample is a whole archive of two tables, in the clear.
func sample(f *testing.F) []byte {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	contents := Contents{Format: format, Contents: store.Contents{SchemaVersion: 4, Tables: []store.Table{{Name: "a", Columns: []string{"x"}}, {Name: "b"}}}}
	one, two := newDigest(), newDigest()
	_, _ = one.Write([]byte("row row"))
	for _, err := range []error{
		writeJSON(archive, contentsName, contents), writeEntry(archive, pieceName("a", 0), []byte("row ")), writeEntry(archive, pieceName("a", 1), []byte("row")),
		writeJSON(archive, summaryName, []TableSummary{one.summary("a", 2), two.summary("b", 0)}), archive.Close(),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	return out.Bytes()
}

// FuzzVerify reads an archive as age gives it out: who knows the recipient can put
// anything into the file. It is read as far as its summary fits, and refused otherwise.
func FuzzVerify(f *testing.F) {
	good := sample(f)
	f.Add(good)
	f.Add(good[:len(good)-1024])
	f.Add(bytes.Replace(good, []byte("row "), []byte("raw "), 1))
	f.Add(bytes.Replace(good, []byte(`"format":1`), []byte(`"format":2`), 1))
	f.Add(bytes.Replace(good, []byte("a/00000001"), []byte("a/00000002"), 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, archive []byte) {
		var report Report
		a, err := begin(bytes.NewReader(archive))
		if err == nil {
			report, err = a.verify()
		}
		switch {
		case bytes.Equal(archive, good) && err != nil:
			t.Fatalf("a whole backup: %v", err)
		case err != nil && !errors.Is(err, ErrDamaged) && !strings.Contains(err.Error(), "has format"):
			t.Fatalf("error %v, want ErrDamaged", err)
		case err == nil:
			for _, table := range report.Tables {
				if table.Bytes < 0 || len(table.SHA256) != 64 {
					t.Fatalf("report %+v", report)
				}
			}
		}
	})
}

// FuzzHeader: what is not for the identity, or is not whole, is refused as such.
func FuzzHeader(f *testing.F) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	var file bytes.Buffer
	sealed, err := age.Encrypt(&file, identity.Recipient())
	if err != nil {
		f.Fatal(err)
	}
	if _, err := sealed.Write(sample(f)); err != nil {
		f.Fatal(err)
	}
	if err := sealed.Close(); err != nil {
		f.Fatal(err)
	}
	good := file.Bytes()
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(append(bytes.Clone(good), 0))
	f.Add([]byte("age-encryption.org/v1\n-> X25519 x\n--- y\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		_, err := Verify(bytes.NewReader(file), identity)
		if bytes.Equal(file, good) != (err == nil) {
			t.Fatalf("error %v", err)
		}
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrIdentity) {
			t.Fatalf("error %v, want ErrDamaged or ErrIdentity", err)
		}
	})
}
