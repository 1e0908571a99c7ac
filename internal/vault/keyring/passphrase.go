package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"golang.org/x/crypto/scrypt"
)

// The cost of scrypt: 128 MiB and some tenths of a second on one core, the least
// that OWASP's Password Storage Cheat Sheet asks for. It belongs to kindPassphrase
// and is not stored: another cost will be another kind, so that nobody who writes
// to the database chooses how much memory a start takes.
const (
	scryptN = 1 << 17
	scryptR = 8
	scryptP = 1
)

// minPassphraseBytes is what NIST SP 800-63B-4 asks of a password that protects
// by itself.
const minPassphraseBytes = 15

// A passphrase root's header is
//
//	kind (1) | salt of scrypt (16)
const (
	scryptSaltSize       = 16
	passphraseHeaderSize = 1 + scryptSaltSize
)

var (
	errNotPassphrase = fmt.Errorf("%w: it was not wrapped with a passphrase; "+
		"start with the kind of root key that wrapped it", ErrRootKey)
	errWrongPassphrase = fmt.Errorf("%w: another passphrase wrapped it, or the stored keyset was changed", ErrRootKey)
)

type passphraseRoot struct {
	passphrase []byte
	// n is scryptN but in tests.
	n int
}

// PassphraseRoot derives the root key from a passphrase with scrypt (N=2^17, r=8,
// p=1) and a new salt at each Wrap. It is meant for development: nobody remembers as
// much as a key file holds. Each Wrap and Unwrap takes 128 MiB of memory for a
// moment.
//
// The passphrase is copied, must have at least 15 bytes, and does not include line
// ends at its end, as editors leave them in a file.
func PassphraseRoot(passphrase []byte) (Root, error) {
	passphrase = bytes.TrimRight(passphrase, "\r\n")
	if len(passphrase) < minPassphraseBytes {
		return nil, fmt.Errorf("read the root passphrase: it has %d bytes; take one of at least %d, or a key file",
			len(passphrase), minPassphraseBytes)
	}
	return passphraseRoot{bytes.Clone(passphrase), scryptN}, nil
}

func (r passphraseRoot) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	header := make([]byte, passphraseHeaderSize)
	header[0] = kindPassphrase
	_, _ = rand.Read(header[1:]) // never fails: crypto/rand ends the program instead
	box, err := r.box(ctx, header[1:])
	if err != nil {
		return nil, err
	}
	return box.seal(header, plaintext, aad)
}

func (r passphraseRoot) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if len(wrapped) < passphraseHeaderSize || wrapped[0] != kindPassphrase {
		return nil, errNotPassphrase
	}
	header, sealed := wrapped[:passphraseHeaderSize], wrapped[passphraseHeaderSize:]
	box, err := r.box(ctx, header[1:])
	if err != nil {
		return nil, err
	}
	plaintext, err := box.open(header, sealed, aad)
	if err != nil {
		return nil, errWrongPassphrase
	}
	return plaintext, nil
}

// box derives the root key for a salt.
func (r passphraseRoot) box(ctx context.Context, salt []byte) (rootBox, error) {
	if err := ctx.Err(); err != nil {
		return rootBox{}, err
	}
	key, err := scrypt.Key(r.passphrase, salt, r.n, scryptR, scryptP, rootKeySize)
	if err != nil {
		return rootBox{}, fmt.Errorf("derive the root key: %w", err)
	}
	defer clear(key)
	return newRootBox(key)
}
