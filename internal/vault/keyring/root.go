package keyring

import (
	"context"
	"errors"
)

// Root wraps and unwraps the keyset of a vault under a key from outside the vault.
// It is called a few times when a process starts, never on the way of a secret, so
// it may be slow or remote.
//
// Unwrap gives back what Wrap took, when it is given what Wrap gave and the same
// aad, and fails otherwise. What Wrap returns says by itself how and under which
// key it is wrapped, so that a root with a current and a previous key, or one with
// other parameters, opens what its older self wrapped.
//
// A root that is wrong for the wrapped bytes fails with an error wrapping
// ErrRootKey; one that cannot be reached now with one wrapping
// secret.ErrUnavailable or the context's error.
type Root interface {
	Wrap(ctx context.Context, plaintext, aad []byte) (wrapped []byte, err error)
	Unwrap(ctx context.Context, wrapped, aad []byte) (plaintext []byte, err error)
}

// ErrRootKey says that the root key at hand does not open the stored keyset:
// another key or passphrase wrapped it, or the stored keyset was changed.
var ErrRootKey = errors.New("the root key does not open the stored keyset")

// The first byte of what a root of this package wraps: which kind of root it
// needs, and all parameters of that kind. Kinds are never used again for something
// else.
const (
	kindPassphrase = 1
	kindKeyFile    = 2
	kindKMS        = 3
	kindTransit    = 4
)
