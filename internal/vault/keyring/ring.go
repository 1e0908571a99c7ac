package keyring

import (
	"context"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Ring is an unwrapped keyset. It is safe for concurrent use and holds its keys
// until the process ends.
type Ring struct {
	handle *keyset.Handle
	aead   tink.AEAD
	macs   *macKeys
}

// reservedAAD is the first byte of the associated data that the ring keeps for
// itself, so that nothing which passed through Wrap is ever taken for the ring's own
// MAC secret, nor the other way about.
const reservedAAD = 0

var errReservedAAD = errors.New("keyring: associated data must not be empty or begin with a zero byte")

// Wrap encrypts a data key under the primary key-encryption key, bound to aad,
// which must not be empty nor begin with a zero byte. The wrapped key is Tink's
// XAES-256-GCM ciphertext with its prefix:
//
//	1 (1) | id of the key-encryption key (4) | salt (12) | nonce (12) | ciphertext | tag (16)
func (r *Ring) Wrap(ctx context.Context, dek, aad []byte) ([]byte, error) {
	if err := usable(ctx, aad); err != nil {
		return nil, err
	}
	return r.aead.Encrypt(dek, aad)
}

// Unwrap decrypts what Wrap returned, under whichever key-encryption key of the
// ring wrapped it. It fails when the ring has not that key any more, or when wrapped
// or aad are not what Wrap gave and took.
func (r *Ring) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := usable(ctx, aad); err != nil {
		return nil, err
	}
	return r.aead.Decrypt(wrapped, aad)
}

func usable(ctx context.Context, aad []byte) error {
	if len(aad) == 0 || aad[0] == reservedAAD {
		return errReservedAAD
	}
	return ctx.Err()
}

func newRing(handle *keyset.Handle, macSecret []byte) (*Ring, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("use the keyset: %w", err)
	}
	macs, err := newMACKeys(macSecret)
	if err != nil {
		return nil, err
	}
	return &Ring{handle, primitive, macs}, nil
}
