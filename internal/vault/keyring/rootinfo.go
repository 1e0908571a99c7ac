package keyring

import (
	"context"
	"errors"
	"fmt"
)

// RootInfo says what wrapped a keyset. It is not secret, and read from the stored
// bytes: what the root key authenticates when the keyset is opened.
type RootInfo struct {
	// Kind is passphrase, key-file, kms or transit; unknown for another.
	Kind string
	// KeyID is hex for a key file, the plugin's key id for a KMS, mount/key and the version for
	// transit, and empty for a passphrase.
	KeyID string
}

// String is the kind and the key, as messages show it.
func (i RootInfo) String() string {
	if i.KeyID == "" {
		return i.Kind
	}
	return i.Kind + " " + i.KeyID
}

// DescribeRoot says what wrapped a stored keyset.
func DescribeRoot(stored []byte) RootInfo {
	s, err := parseStored(stored)
	if err != nil || len(s.keyset) == 0 {
		return RootInfo{Kind: "unknown"}
	}
	return describe(s.keyset)
}

func describe(wrapped []byte) RootInfo {
	switch wrapped[0] {
	case kindPassphrase:
		return RootInfo{Kind: "passphrase"}
	case kindKeyFile:
		if len(wrapped) >= keyFileHeaderSize {
			return RootInfo{"key-file", fmt.Sprintf("%x", wrapped[1:keyFileHeaderSize])}
		}
	case kindKMS:
		if reference, _, ok := splitRemote(wrapped, kindKMS); ok {
			if ref, err := parseKMSReference(reference); err == nil {
				return RootInfo{"kms", ref.keyID}
			}
		}
	case kindTransit:
		if reference, _, ok := splitRemote(wrapped, kindTransit); ok {
			if name, ciphertext, ok := parseTransitReference(reference); ok {
				version, _ := keyVersion(ciphertext)
				return RootInfo{"transit", fmt.Sprintf("%s v%d", name, version)}
			}
		}
	}
	return RootInfo{Kind: "unknown"}
}

// ager is a root that knows whether it would wrap under another key now.
type ager interface {
	stale(ctx context.Context, wrapped, aad []byte) (bool, error)
}

// RootMoved reports whether root would wrap under another key now than the one that
// wrapped the stored keyset: a key file has a new current key, a remote key was
// rotated, or the previous root wrapped it. Then the keyset is to be wrapped anew.
func (r *Ring) RootMoved(ctx context.Context, stored []byte) (bool, error) {
	a, ok := r.root.(ager)
	if !ok {
		return false, nil
	}
	s, err := parseStored(stored)
	if err != nil {
		return false, err
	}
	return a.stale(ctx, s.keyset, s.aad())
}

// WithPrevious returns a root that wraps as current and also opens what previous
// wrapped: the way from one kind of root key to another. What previous wrapped is
// to be wrapped anew (RootMoved).
func WithPrevious(current, previous Root) Root { return movingRoot{current, previous} }

type movingRoot struct{ current, previous Root }

func (r movingRoot) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	return r.current.Wrap(ctx, plaintext, aad)
}

func (r movingRoot) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	plaintext, err := r.current.Unwrap(ctx, wrapped, aad)
	if !errors.Is(err, ErrRootKey) {
		return plaintext, err
	}
	plaintext, previousErr := r.previous.Unwrap(ctx, wrapped, aad)
	switch {
	case previousErr == nil:
		return plaintext, nil
	case errors.Is(previousErr, ErrRootKey):
		return nil, fmt.Errorf("%w (the current root key); %w (the previous root key)", err, previousErr)
	}
	return nil, fmt.Errorf("the previous root key: %w", previousErr)
}

func (r movingRoot) stale(ctx context.Context, wrapped, aad []byte) (bool, error) {
	switch _, err := r.current.Unwrap(ctx, wrapped, aad); {
	case errors.Is(err, ErrRootKey):
		return true, nil
	case err != nil:
		return false, err
	}
	if a, ok := r.current.(ager); ok {
		return a.stale(ctx, wrapped, aad)
	}
	return false, nil
}
