package keyring

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// KeyID names a key-encryption key within its vault. It is random and stands in
// every data key that the key wrapped; it tells nothing about the key.
type KeyID uint32

// Keyset is the keys of a vault as of one revision. It never changes: Add, Promote
// and Remove return the keyset of the next revision. It is safe for concurrent use.
type Keyset struct {
	revision int64
	handle   *keyset.Handle
	aead     tink.AEAD
	macs     *macKeys
	primary  KeyID
	ids      []KeyID // in the order in which they were added
}

// prefixSize is that of Tink's prefix of a ciphertext: 1, then the id of the key.
const (
	prefixSize = 5
	prefixTink = 1
)

// KeyOf returns which key-encryption key wrapped a data key; false for what Wrap
// never returned.
func KeyOf(wrapped []byte) (KeyID, bool) {
	if len(wrapped) < prefixSize || wrapped[0] != prefixTink {
		return 0, false
	}
	return KeyID(binary.BigEndian.Uint32(wrapped[1:prefixSize])), true
}

// firstRevision is that of a new vault's keyset. Keysets from before there were
// revisions have revision 0.
const firstRevision = 1

// newKeyset makes the keyset of a new vault.
func newKeyset() (*Keyset, error) {
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a keyset: %w", err)
	}
	macSecret := make([]byte, macSecretSize)
	_, _ = rand.Read(macSecret) // never fails: crypto/rand ends the program instead
	macs, err := newMACKeys(macSecret)
	if err != nil {
		return nil, err
	}
	return useKeyset(firstRevision, handle, macs)
}

func useKeyset(revision int64, handle *keyset.Handle, macs *macKeys) (*Keyset, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("use the keyset: %w", err)
	}
	k := &Keyset{revision: revision, handle: handle, aead: primitive, macs: macs}
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, fmt.Errorf("use the keyset: %w", err)
		}
		k.ids = append(k.ids, KeyID(entry.KeyID()))
		if entry.IsPrimary() {
			k.primary = KeyID(entry.KeyID())
		}
	}
	return k, nil
}

// Revision counts the changes of the vault's keyset; the first is 1. It is
// authenticated by the root key.
func (k *Keyset) Revision() int64 { return k.revision }

// Primary is the key that Wrap uses.
func (k *Keyset) Primary() KeyID { return k.primary }

// Keys are the keys that Unwrap knows, in the order in which they were added.
func (k *Keyset) Keys() []KeyID { return slices.Clone(k.ids) }

// Has reports whether the keyset has the key.
func (k *Keyset) Has(id KeyID) bool { return slices.Contains(k.ids, id) }

// Add returns the next revision, with a new key that is not primary yet.
func (k *Keyset) Add() (*Keyset, KeyID, error) {
	var id KeyID
	next, err := k.change(func(m *keyset.Manager) error {
		added, err := m.Add(aead.XAES256GCM192BitNonceKeyTemplate())
		id = KeyID(added)
		return err
	})
	return next, id, err
}

// Promote returns the next revision, in which id is the primary key.
func (k *Keyset) Promote(id KeyID) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.SetPrimary(uint32(id)) })
}

// Remove returns the next revision, without the key id, which must not be the
// primary one. What it wrapped does not open any more.
func (k *Keyset) Remove(id KeyID) (*Keyset, error) {
	return k.change(func(m *keyset.Manager) error { return m.Delete(uint32(id)) })
}

// Next returns the same keys as the next revision: what is stored beside them
// changed.
func (k *Keyset) Next() (*Keyset, error) {
	return k.change(func(*keyset.Manager) error { return nil })
}

func (k *Keyset) change(f func(*keyset.Manager) error) (*Keyset, error) {
	manager := keyset.NewManagerFromHandle(k.handle)
	if err := f(manager); err != nil {
		return nil, fmt.Errorf("change the keyset: %w", err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("change the keyset: %w", err)
	}
	return useKeyset(k.revision+1, handle, k.macs)
}

// mayFollow reports whether k may take the place of known: it belongs to the same
// vault and is not older.
func (k *Keyset) mayFollow(known *Keyset) error {
	switch {
	case subtle.ConstantTimeCompare(k.macs.secret, known.macs.secret) != 1:
		return fmt.Errorf("%w: the stored keyset is of another vault", secret.ErrTampered)
	case k.revision < known.revision:
		return fmt.Errorf("%w: the stored keyset has revision %d and revision %d was in use: somebody put an older one back",
			secret.ErrTampered, k.revision, known.revision)
	}
	return nil
}

// Generate makes the keyset of a new vault, one XAES-256-GCM key and a MAC secret,
// and returns it wrapped by root. The result is not secret.
func Generate(ctx context.Context, root Root) ([]byte, error) {
	k, err := newKeyset()
	if err != nil {
		return nil, err
	}
	return k.wrap(ctx, root)
}

// Open unwraps a stored keyset. Its error wraps ErrRootKey when root is not the one
// that wrapped it or a bit of it changed, and is the root's own error when the root
// cannot be reached.
func Open(ctx context.Context, root Root, wrapped []byte) (*Keyset, error) {
	stored, err := parseStored(wrapped)
	if err != nil {
		return nil, err
	}
	handle, err := openKeyset(ctx, root, stored.keyset, stored.aad())
	if err != nil {
		return nil, err
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("use the keyset: %w", err)
	}
	macSecret, err := primitive.Decrypt(stored.macSecret, []byte(macSecretAAD))
	if err != nil {
		return nil, fmt.Errorf("%w: the MAC secret does not belong to the keyset beside it", ErrRootKey)
	}
	macs, err := newMACKeys(macSecret)
	if err != nil {
		return nil, err
	}
	return useKeyset(stored.revision, handle, macs)
}

// wrap writes the format drawn at storedKeyset.
func (k *Keyset) wrap(ctx context.Context, root Root) ([]byte, error) {
	stored := storedKeyset{format: keysetFormat, revision: k.revision}
	var err error
	if stored.keyset, err = sealKeyset(ctx, root, k.handle, stored.aad()); err != nil {
		return nil, err
	}
	if stored.macSecret, err = k.aead.Encrypt(k.macs.secret, []byte(macSecretAAD)); err != nil {
		return nil, fmt.Errorf("wrap the MAC secret: %w", err)
	}
	return stored.marshal()
}
