package keyring

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// keyService is a key that never leaves its place, and encrypts the 32 bytes of a
// local key. A reference is what decrypt needs: the ciphertext, and which key it is
// under.
type keyService interface {
	encrypt(ctx context.Context, localKey []byte) (reference []byte, err error)
	// decrypt fails with ErrRootKey when the reference is not of this service or was
	// changed.
	decrypt(ctx context.Context, reference []byte) (localKey []byte, err error)
	// moved reports whether encrypt would use another key now than it did for the
	// reference.
	moved(ctx context.Context, reference []byte) (bool, error)
}

// remoteRoot makes a local key for each Wrap, which seals what is wrapped and which
// the service encrypts: so aad is bound whether or not the service knows associated
// data, and the service never sees a keyset. Its header is
//
//	kind (1) | len (2) | reference
//
// and is authenticated under the local key as every root's header is.
type remoteRoot struct {
	service keyService
	kind    byte
	// wrongKind answers what another kind of root wrapped.
	wrongKind error
}

// maxReferenceBytes holds all that a KMS plugin may answer, and keeps the header
// within the 2 bytes of length that bind gives it.
const maxReferenceBytes = 40 << 10

var errLocalKey = fmt.Errorf("%w: it was changed after it was wrapped", ErrRootKey)

func (r remoteRoot) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	key := make([]byte, rootKeySize)
	defer clear(key)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
	reference, err := r.service.encrypt(ctx, key)
	if err != nil {
		return nil, err
	}
	if len(reference) > maxReferenceBytes {
		return nil, fmt.Errorf("wrap under the root key: the service's answer has %d bytes, more than %d", len(reference), maxReferenceBytes)
	}
	w := cryptobyte.NewBuilder([]byte{r.kind})
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(reference) })
	header, err := w.Bytes()
	if err != nil {
		return nil, err
	}
	box, err := newRootBox(key)
	if err != nil {
		return nil, err
	}
	return box.seal(header, plaintext, aad)
}

func (r remoteRoot) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	header, reference, sealed, err := r.split(wrapped)
	if err != nil {
		return nil, err
	}
	key, err := r.service.decrypt(ctx, reference)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if len(key) != rootKeySize {
		return nil, errLocalKey
	}
	box, err := newRootBox(key)
	if err != nil {
		return nil, err
	}
	plaintext, err := box.open(header, sealed, aad)
	if err != nil {
		return nil, errLocalKey
	}
	return plaintext, nil
}

func (r remoteRoot) stale(ctx context.Context, wrapped, _ []byte) (bool, error) {
	_, reference, _, err := r.split(wrapped)
	if err != nil {
		return false, err
	}
	return r.service.moved(ctx, reference)
}

func (r remoteRoot) split(wrapped []byte) (header, reference, sealed []byte, err error) {
	reference, sealed, ok := splitRemote(wrapped, r.kind)
	if !ok {
		return nil, nil, nil, r.wrongKind
	}
	return wrapped[:len(wrapped)-len(sealed)], reference, sealed, nil
}

func splitRemote(wrapped []byte, kind byte) (reference, sealed []byte, ok bool) {
	in := cryptobyte.String(wrapped)
	var k uint8
	var ref cryptobyte.String
	if !in.ReadUint8(&k) || k != kind || !in.ReadUint16LengthPrefixed(&ref) || len(ref) > maxReferenceBytes {
		return nil, nil, false
	}
	return ref, in, true
}

// awayError is what keeps a root key from being reached now.
type awayError struct{ reason error }

func (e awayError) Error() string { return "the root key cannot be reached now: " + e.reason.Error() }

func (e awayError) Unwrap() error { return e.reason }

// Is makes it a secret.ErrUnavailable, whose text speaks of the database.
func (awayError) Is(target error) bool { return target == secret.ErrUnavailable }

// away says that trying again may help, and gives the reason.
func away(format string, args ...any) error { return awayError{fmt.Errorf(format, args...)} }

func isAway(err error) bool { return errors.Is(err, secret.ErrUnavailable) }
