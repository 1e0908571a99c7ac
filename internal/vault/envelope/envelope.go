package envelope

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// KeyWrapper wraps data keys under a key-encryption key, as an AEAD does: Unwrap
// fails unless wrapped and aad are what Wrap gave and took. The wrapped bytes say
// which key-encryption key they need.
//
// A KeyWrapper that needs something it cannot reach now says so with an error
// that wraps secret.ErrUnavailable or the context's error. Every other error of
// Unwrap counts as a failed integrity check.
type KeyWrapper interface {
	Wrap(ctx context.Context, dek, aad []byte) (wrapped []byte, err error)
	Unwrap(ctx context.Context, wrapped, aad []byte) (dek []byte, err error)
}

// Sealed is one version as it is stored. Neither part is secret, and neither is
// of use without the key-encryption key and the right Binding.
type Sealed struct {
	// WrappedKey is the data key as the KeyWrapper wrapped it. A rotation of the
	// key-encryption key replaces it and leaves Box alone.
	WrappedKey []byte
	// Box is the value, in the format drawn in box.go.
	Box []byte
}

// errTampered is every failure of Open: which check failed would only help whoever
// made it fail.
var errTampered = fmt.Errorf("open a sealed version: %w", secret.ErrTampered)

// Seal encrypts plaintext, which may be empty, for the binding b under a fresh
// data key. It fails when b names no version or the data key cannot be wrapped.
func Seal(ctx context.Context, w KeyWrapper, b Binding, plaintext []byte) (Sealed, error) {
	if err := b.check(); err != nil {
		return Sealed{}, err
	}
	aad, err := b.associatedData(purposeKey)
	if err != nil {
		return Sealed{}, err
	}
	dek := make([]byte, dekSize)
	defer clear(dek)
	_, _ = rand.Read(dek) // never fails: crypto/rand ends the program instead
	wrapped, err := w.Wrap(ctx, dek, aad)
	if err != nil {
		return Sealed{}, fmt.Errorf("wrap the data key: %w", err)
	}
	box, err := sealBox(dek, b, plaintext)
	if err != nil {
		return Sealed{}, err
	}
	return Sealed{WrappedKey: wrapped, Box: box}, nil
}

// Open decrypts s, which must have been sealed for b. The plaintext belongs to the
// caller, who clears it after use. Any difference between what was sealed and what
// is given is one and the same error wrapping secret.ErrTampered; a key wrapper
// that cannot be reached, or a context that ended, is an error that says so.
func Open(ctx context.Context, w KeyWrapper, b Binding, s Sealed) ([]byte, error) {
	aad, err := b.associatedData(purposeKey)
	if err != nil {
		return nil, errTampered
	}
	dek, err := unwrap(ctx, w, s.WrappedKey, aad)
	if err != nil {
		return nil, err
	}
	defer clear(dek)
	return openBox(dek, b, s.Box)
}

func isUnavailable(err error) bool {
	return errors.Is(err, secret.ErrUnavailable) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
