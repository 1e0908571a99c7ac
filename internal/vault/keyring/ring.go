package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Source reads the wrapped keyset of the vault as it is stored now.
type Source func(context.Context) (wrapped []byte, err error)

// Ring is the keyset in use. It takes a newer one up when Reload finds it, and when
// it meets a data key that was wrapped by a key it does not know. It is safe for
// concurrent use and holds its keys until the process ends.
type Ring struct {
	root    Root
	source  Source
	reloads singleflight.Group
	current atomic.Pointer[loaded]
}

// loaded is a keyset and the stored bytes that it was opened from.
type loaded struct {
	*Keyset
	wrapped []byte
}

// ErrUnknownKey says that no key of the ring wrapped a data key.
var ErrUnknownKey = errors.New("keyring: the key that wrapped this data key is not in the vault's keyset")

// reloadTimeout bounds one reload: a query, and a question to a root that may be
// remote.
const reloadTimeout = 10 * time.Second

// reservedAAD is the first byte of the associated data that the ring keeps for
// itself, so that nothing which passed through Wrap is ever taken for the ring's own
// MAC secret, nor the other way about.
const reservedAAD = 0

var errReservedAAD = errors.New("keyring: associated data must not be empty or begin with a zero byte")

// Load opens a stored keyset as a ring that never changes. Errors are those of Open.
func Load(ctx context.Context, root Root, wrapped []byte) (*Ring, error) {
	return Follow(ctx, root, func(context.Context) ([]byte, error) { return wrapped, nil })
}

// Follow opens the keyset that source gives, as a ring that asks source again when
// it is to be reloaded. Errors are those of Open and of source.
func Follow(ctx context.Context, root Root, source Source) (*Ring, error) {
	wrapped, err := source(ctx)
	if err != nil {
		return nil, err
	}
	k, err := Open(ctx, root, wrapped)
	if err != nil {
		return nil, err
	}
	r := &Ring{root: root, source: source}
	r.current.Store(&loaded{k, wrapped})
	return r, nil
}

// Keyset is the keyset in use.
func (r *Ring) Keyset() *Keyset { return r.current.Load().Keyset }

// Wrap encrypts a data key under the primary key-encryption key, bound to aad,
// which must not be empty nor begin with a zero byte. The wrapped key is Tink's
// XAES-256-GCM ciphertext with its prefix:
//
//	1 (1) | id of the key-encryption key (4) | salt (12) | nonce (12) | ciphertext | tag (16)
func (r *Ring) Wrap(ctx context.Context, dek, aad []byte) ([]byte, error) {
	if err := usable(ctx, aad); err != nil {
		return nil, err
	}
	return r.Keyset().aead.Encrypt(dek, aad)
}

// Unwrap decrypts what Wrap returned, under whichever key-encryption key of the
// ring wrapped it. When the ring has not that key it is reloaded: another replica may
// have added it. It fails with ErrUnknownKey when the stored keyset has not the key
// either, and fails when wrapped or aad are not what Wrap gave and took.
func (r *Ring) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := usable(ctx, aad); err != nil {
		return nil, err
	}
	k, err := r.keysetFor(ctx, wrapped)
	if err != nil {
		return nil, err
	}
	return k.aead.Decrypt(wrapped, aad)
}

// keysetFor is the keyset in use, reloaded when it has not the key that wrapped a
// data key.
func (r *Ring) keysetFor(ctx context.Context, wrapped []byte) (*Keyset, error) {
	k := r.Keyset()
	id, ok := KeyOf(wrapped)
	if !ok {
		return k, nil // decrypting says that it is no wrapped key
	}
	// The first reload may be one that another caller began before this data key was
	// stored. The second began after.
	for range 2 {
		if k.Has(id) {
			return k, nil
		}
		if err := r.Reload(ctx); err != nil {
			return nil, err
		}
		k = r.Keyset()
	}
	if !k.Has(id) {
		return nil, fmt.Errorf("%w: key %d", ErrUnknownKey, id)
	}
	return k, nil
}

// Holds reports whether the ring has the key that wrapped a data key. It does not
// reload.
func (r *Ring) Holds(wrapped []byte) bool {
	id, ok := KeyOf(wrapped)
	return ok && r.Keyset().Has(id)
}

func usable(ctx context.Context, aad []byte) error {
	if len(aad) == 0 || aad[0] == reservedAAD {
		return errReservedAAD
	}
	return ctx.Err()
}

// Reload takes the stored keyset into use when it is another one than the ring has.
// Callers at the same time share one look at it.
//
// Errors: secret.ErrTampered when the stored keyset is older than the one in use or
// of another vault; then, as with every error, the keys in use stay. Others are
// those of Open and of the source.
func (r *Ring) Reload(ctx context.Context) error {
	// What one caller waits for is not for the first one to give up.
	done := r.reloads.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadTimeout)
		defer cancel()
		return nil, r.reload(ctx)
	})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case result := <-done:
		return result.Err
	}
}

func (r *Ring) reload(ctx context.Context) error {
	_, _, err := r.UseStored(ctx, r.source)
	return err
}

// UseStored reads the stored keyset, takes it into use, and returns it and its bytes.
// A keyset that looks older than the one in use is read again: it may have been
// replaced, and the newer one taken up, since it was read. One that was put back
// stays.
func (r *Ring) UseStored(ctx context.Context, source Source) (k *Keyset, wrapped []byte, err error) {
	for {
		before := r.current.Load()
		if wrapped, err = source(ctx); err != nil {
			return nil, nil, err
		}
		k, err = r.Use(ctx, wrapped)
		if !errors.Is(err, secret.ErrTampered) || r.current.Load() == before {
			return k, wrapped, err
		}
	}
}

// Use opens a stored keyset, which may be the one in use, takes it into use and
// returns it. Errors are those of Reload.
func (r *Ring) Use(ctx context.Context, wrapped []byte) (*Keyset, error) {
	known := r.current.Load()
	if bytes.Equal(known.wrapped, wrapped) {
		return known.Keyset, nil
	}
	k, err := Open(ctx, r.root, wrapped)
	if err != nil {
		return nil, err
	}
	next := &loaded{k, bytes.Clone(wrapped)}
	for {
		if err := k.mayFollow(known.Keyset); err != nil {
			return nil, err
		}
		if r.current.CompareAndSwap(known, next) {
			return k, nil
		}
		known = r.current.Load() // somebody else reloaded meanwhile, perhaps something newer
	}
}

// Seal wraps a keyset as it is stored.
func (r *Ring) Seal(ctx context.Context, k *Keyset) ([]byte, error) { return k.wrap(ctx, r.root) }
