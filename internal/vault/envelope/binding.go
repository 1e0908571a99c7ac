package envelope

import (
	"errors"

	"golang.org/x/crypto/cryptobyte"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Binding says which version of which secret of which vault a sealed version is.
// It is not stored with the box: the reader knows it from the row it reads, and a
// box that was sealed for another binding does not open.
//
// As associated data, a binding is
//
//	suite     1 byte
//	purpose   1 byte of length, then "key" (wrapped key) or "value" (box)
//	vault     1 byte of length (16), then the id
//	secret    1 byte of length (16), then the id
//	path      2 bytes of length, then the bytes of the path
//	version   8 bytes, big endian
//
// Lengths stand before all that varies, so no two bindings have the same bytes.
type Binding struct {
	// Vault and Secret are the random ids (UUIDs) of the vault and of the secret.
	// The secret's id outlives nothing: a path deleted for good and made again is
	// another secret.
	Vault, Secret [16]byte
	// Path of the secret.
	Path secret.Path
	// Version counts from 1.
	Version int64
}

// purpose keeps the two uses of a binding apart: a wrapped key is no box.
type purpose string

const (
	purposeKey   purpose = "key"
	purposeValue purpose = "value"
)

// bindingOverhead is the size of the associated data without purpose and path.
const bindingOverhead = 1 + 1 + (1 + 16) + (1 + 16) + 2 + 8

var errUnbound = errors.New("envelope: a version is sealed only for a path and a version number from 1")

// check refuses to seal what could not be told apart later.
func (b Binding) check() error {
	if b.Path.IsZero() || b.Version < 1 {
		return errUnbound
	}
	return nil
}

// associatedData writes b as drawn at Binding. Lengths are written one by one, not
// by cryptobyte's nested builders: those allocate, and no length is too long for its
// prefix (a path has at most secret.MaxPathBytes).
func (b Binding) associatedData(p purpose) ([]byte, error) {
	path := b.Path.String()
	w := cryptobyte.NewFixedBuilder(make([]byte, 0, bindingOverhead+len(p)+len(path)))
	w.AddUint8(suite)
	w.AddUint8(uint8(len(p)))
	w.AddBytes([]byte(p))
	w.AddUint8(uint8(len(b.Vault)))
	w.AddBytes(b.Vault[:])
	w.AddUint8(uint8(len(b.Secret)))
	w.AddBytes(b.Secret[:])
	w.AddUint16(uint16(len(path)))
	w.AddBytes([]byte(path))
	w.AddUint64(uint64(b.Version))
	return w.Bytes()
}
