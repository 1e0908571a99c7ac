package keyring

import (
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/xaesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/tink"
	"golang.org/x/crypto/cryptobyte"
)

// rootKeySize is the size of every root key in bytes, from a file or derived.
const rootKeySize = 32

// rootSaltSize makes XAES-256-GCM take 24 random bytes a message (12 of salt, 12
// of nonce), so that no two messages of a root key share them
// (c2sp.org/XAES-256-GCM).
const rootSaltSize = 12

// rootBox seals under one root key that is in this process. A sealed box is
//
//	header | salt (12) | nonce (12) | ciphertext | tag (16)
//
// with XAES-256-GCM; the associated data is the header and the caller's aad, each
// after its length in 2 bytes. The header belongs to the kind of root.
type rootBox struct{ aead tink.AEAD }

// newRootBox copies the key, which must have rootKeySize bytes.
func newRootBox(key []byte) (rootBox, error) {
	primitive, err := newXAES(key)
	if err != nil {
		return rootBox{}, fmt.Errorf("prepare the root key: %w", err)
	}
	return rootBox{primitive}, nil
}

func newXAES(key []byte) (tink.AEAD, error) {
	params, err := xaesgcm.NewParameters(xaesgcm.VariantNoPrefix, rootSaltSize)
	if err != nil {
		return nil, err
	}
	// Tink asks for this token from those who bring key bytes of their own.
	xkey, err := xaesgcm.NewKey(secretdata.NewBytesFromData(key, insecuresecretdataaccess.Token{}), 0, params)
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManager()
	id, err := manager.AddKey(xkey)
	if err != nil {
		return nil, err
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, err
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, err
	}
	return aead.New(handle)
}

func (b rootBox) seal(header, plaintext, aad []byte) ([]byte, error) {
	bound, err := bind(header, aad)
	if err != nil {
		return nil, err
	}
	sealed, err := b.aead.Encrypt(plaintext, bound)
	if err != nil {
		return nil, fmt.Errorf("wrap under the root key: %w", err)
	}
	return append(header, sealed...), nil
}

// open takes the sealed bytes without their header. Its error says nothing: the
// kind of root knows what to tell.
func (b rootBox) open(header, sealed, aad []byte) ([]byte, error) {
	bound, err := bind(header, aad)
	if err != nil {
		return nil, err
	}
	return b.aead.Decrypt(sealed, bound)
}

func bind(header, aad []byte) ([]byte, error) {
	w := cryptobyte.NewBuilder(make([]byte, 0, 2+len(header)+2+len(aad)))
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(header) })
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(aad) })
	return w.Bytes()
}
