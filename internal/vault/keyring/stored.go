package keyring

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/crypto/cryptobyte"
)

// storedKeyset is a wrapped keyset in its parts. In the database it is
//
//	format    1 byte, 2
//	revision  8 bytes, big endian, from 1
//	keyset    3 bytes of length, then the Tink keyset (protobuf
//	          google.crypto.tink.Keyset) as the Root wrapped it, with
//	          "coffer/keyset/2" and the 8 bytes of the revision as associated data
//	MAC       3 bytes of length, then the MAC secret (32 bytes) as the keyset's
//	secret    primary key encrypted it, with macSecretAAD
//
// So the root is asked once, the MAC secret opens under no other keyset than its
// own, and nobody without the root key gives a keyset another revision. Format 1,
// which the first vaults have until their keys first change, has no revision (it
// counts as 0) and "coffer/keyset/1" as associated data. Only what is authenticated
// is stored: Tink's readable summary of the keys is left out.
type storedKeyset struct {
	format    uint8
	revision  int64
	keyset    []byte
	macSecret []byte
}

const (
	keysetFormat           = 2
	keysetFormatUnnumbered = 1
)

const (
	keysetAADUnnumbered = "coffer/keyset/1"
	keysetAAD           = "coffer/keyset/2"
	macSecretAAD        = "\x00coffer/mac-secret/1"
)

var errMalformedKeyset = fmt.Errorf("%w: it is not in the format that this version of Coffer reads", ErrRootKey)

func parseStored(wrapped []byte) (storedKeyset, error) {
	in := cryptobyte.String(wrapped)
	var s storedKeyset
	if !in.ReadUint8(&s.format) || !s.readRevision(&in) {
		return storedKeyset{}, errMalformedKeyset
	}
	var k, m cryptobyte.String
	if !in.ReadUint24LengthPrefixed(&k) || !in.ReadUint24LengthPrefixed(&m) || !in.Empty() {
		return storedKeyset{}, errMalformedKeyset
	}
	s.keyset, s.macSecret = k, m
	return s, nil
}

func (s *storedKeyset) readRevision(in *cryptobyte.String) bool {
	switch s.format {
	case keysetFormatUnnumbered:
		return true
	case keysetFormat:
		var revision uint64
		ok := in.ReadUint64(&revision) && revision >= firstRevision && revision <= math.MaxInt64
		s.revision = int64(revision)
		return ok
	default:
		return false
	}
}

func (s *storedKeyset) marshal() ([]byte, error) {
	var w cryptobyte.Builder
	w.AddUint8(s.format)
	if s.format != keysetFormatUnnumbered {
		w.AddUint64(uint64(s.revision))
	}
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(s.keyset) })
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(s.macSecret) })
	return w.Bytes()
}

// aad is what the root binds the keyset to.
func (s *storedKeyset) aad() []byte {
	if s.format == keysetFormatUnnumbered {
		return []byte(keysetAADUnnumbered)
	}
	return binary.BigEndian.AppendUint64([]byte(keysetAAD), uint64(s.revision))
}
