package keyring

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"golang.org/x/crypto/cryptobyte"
)

// A wrapped keyset is
//
//	format   1 byte, 1
//	keyset   3 bytes of length, then the Tink keyset (protobuf
//	         google.crypto.tink.Keyset) as the Root wrapped it, with keysetAAD
//	MAC      3 bytes of length, then the MAC secret (32 bytes) as the keyset's
//	secret   primary key encrypted it, with macSecretAAD
//
// So the root is asked once, and the MAC secret opens under no other keyset than
// its own. Only what is authenticated is stored: Tink's readable summary of the keys
// is left out.
const keysetFormat = 1

const (
	keysetAAD    = "coffer/keyset/1"
	macSecretAAD = "\x00coffer/mac-secret/1"
)

var errMalformedKeyset = fmt.Errorf("%w: it is not in the format that this version of Coffer reads", ErrRootKey)

// Generate makes the keyset of a new vault, one XAES-256-GCM key and a MAC secret,
// and returns it wrapped by root. The result is not secret.
func Generate(ctx context.Context, root Root) ([]byte, error) {
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a keyset: %w", err)
	}
	macSecret := make([]byte, macSecretSize)
	_, _ = rand.Read(macSecret) // never fails: crypto/rand ends the program instead
	ring, err := newRing(handle, macSecret)
	if err != nil {
		return nil, err
	}
	return ring.wrapKeyset(ctx, root)
}

// Load unwraps what Generate returned. Its error wraps ErrRootKey when root is not
// the one that wrapped it or a bit of it changed, and is the root's own error when
// the root cannot be reached.
func Load(ctx context.Context, root Root, wrappedKeyset []byte) (*Ring, error) {
	sealedKeyset, sealedSecret, err := splitKeyset(wrappedKeyset)
	if err != nil {
		return nil, err
	}
	handle, err := openKeyset(ctx, root, sealedKeyset)
	if err != nil {
		return nil, err
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("use the keyset: %w", err)
	}
	macSecret, err := primitive.Decrypt(sealedSecret, []byte(macSecretAAD))
	if err != nil {
		return nil, fmt.Errorf("%w: the MAC secret does not belong to the keyset beside it", ErrRootKey)
	}
	return newRing(handle, macSecret)
}

// wrapKeyset writes the format drawn at keysetFormat.
func (r *Ring) wrapKeyset(ctx context.Context, root Root) ([]byte, error) {
	sealedKeyset, err := sealKeyset(ctx, root, r.handle)
	if err != nil {
		return nil, err
	}
	sealedSecret, err := r.aead.Encrypt(r.macs.secret, []byte(macSecretAAD))
	if err != nil {
		return nil, fmt.Errorf("wrap the MAC secret: %w", err)
	}
	var w cryptobyte.Builder
	w.AddUint8(keysetFormat)
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(sealedKeyset) })
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(sealedSecret) })
	return w.Bytes()
}

func splitKeyset(wrapped []byte) (sealedKeyset, sealedSecret []byte, err error) {
	in := cryptobyte.String(wrapped)
	var format uint8
	var k, s cryptobyte.String
	if !in.ReadUint8(&format) || format != keysetFormat ||
		!in.ReadUint24LengthPrefixed(&k) || !in.ReadUint24LengthPrefixed(&s) || !in.Empty() {
		return nil, nil, errMalformedKeyset
	}
	return k, s, nil
}
