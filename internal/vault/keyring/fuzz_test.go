package keyring

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// FuzzParseKeyFile: what is a key file has a current key of 32 bytes, and what is none is
// refused in words that show nothing of it.
func FuzzParseKeyFile(f *testing.F) {
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))
	for _, s := range []string{
		"", "current: " + key + "\n", "current: " + key + "\nprevious: " + key, "# x\n\ncurrent:" + key, "previous: " + key, "current: " + key + "\ncurrent: " + key,
		"current: " + key[:40], "current: " + key + "=", key, "Current: " + key, "current " + key, "current: \x00" + key,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parseKeyFile(text)
		if err == nil {
			if keys == nil || !bytes.Contains(text, []byte(nameCurrent)) {
				t.Fatalf("%q is a key file", text)
			}
			return
		}
		// The help shows an example of its own.
		shown := strings.ReplaceAll(err.Error(), keyFileHelp, "")
		for word := range strings.FieldsSeq(string(text)) {
			if len(word) > 12 && strings.Contains(shown, word) {
				t.Fatalf("%q: the error shows %q: %v", text, word, err)
			}
		}
	})
}

// FuzzParseStored: a wrapped keyset has one form.
func FuzzParseStored(f *testing.F) {
	for _, s := range []storedKeyset{
		{format: 1, keyset: []byte("k"), macSecret: []byte("m")}, {format: 2, revision: 1, keyset: []byte("k")}, {format: 2, revision: 1<<63 - 1},
	} {
		text, err := s.marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(append(text, 0))
		f.Add(text[:len(text)-1])
	}
	f.Add([]byte{3})
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) // revision 0
	f.Fuzz(func(t *testing.T, stored []byte) {
		s, err := parseStored(stored)
		if err != nil {
			return
		}
		again, err := s.marshal()
		if err != nil || !bytes.Equal(again, stored) {
			t.Fatalf("%x was read as %x, %v", stored, again, err)
		}
		if s.format == keysetFormat != (s.revision > 0) {
			t.Fatalf("%x: format %d, revision %d", stored, s.format, s.revision)
		}
	})
}
