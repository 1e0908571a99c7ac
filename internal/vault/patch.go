package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Patch writes a new version of a path that exists, whose value is the current one, a
// JSON object, changed by a JSON Merge Patch (RFC 7396). It needs the write capability.
// The request's patch stays the caller's to clear.
//
// The current value is read under the lock of the write: of two patches at one time none
// undoes the other.
//
// Errors are those of Put; secret.ErrInvalid also when the current value or the patch is
// no JSON object, secret.ErrInvalidValue when the patched value is too large.
func (e *Engine) Patch(ctx context.Context, caller secret.Caller, req secret.PatchRequest) (secret.Metadata, error) {
	if err := checkPatch(req.Patch.Bytes()); err != nil {
		return secret.Metadata{}, err
	}
	put := secret.PutRequest{Path: req.Path, Value: req.Patch, ExpectedVersion: req.ExpectedVersion, IdempotencyKey: req.IdempotencyKey}
	return e.write(ctx, caller, put, writeKind{
		action: audit.Patch, change: changes.Put, capability: policy.Write, mustExist: true, merges: true,
	})
}

// merge makes w's value of the current one, whose path is locked.
func (w *writing) merge(ctx context.Context, tx *store.Tx, current *store.Secret) error {
	old, err := w.engine.openLocked(ctx, tx, w.put.Path, current)
	if err != nil {
		return err
	}
	defer old.Clear()
	merged, err := mergePatch(old.Bytes(), w.put.Value.Bytes())
	if err != nil {
		return err
	}
	if len(merged) > secret.MaxValueBytes {
		clear(merged)
		return errMergedTooLarge
	}
	w.value.Clear() // that of an attempt that lost a race
	w.value, err = secret.NewValue(merged)
	w.binding = envelope.Binding{} // what was sealed is another value
	return err
}

// openLocked opens the current version of a locked path. It passes the caches by: one
// that hangs would hold up all who write the path.
func (e *Engine) openLocked(ctx context.Context, tx *store.Tx, path secret.Path, current *store.Secret) (secret.Value, error) {
	number := current.CurrentVersion
	for range wrappedKeyReads { // as in open
		v, err := e.lockedVersion(ctx, tx, current, number)
		if err != nil {
			return secret.Value{}, err
		}
		box, err := tx.Box(ctx, current.ID, number)
		if err != nil {
			return secret.Value{}, err
		}
		plaintext, err := envelope.Open(ctx, e.keyring, e.binding(current.ID, path, number), envelope.Sealed{WrappedKey: v.WrappedKey, Box: box})
		if err == nil {
			return secret.NewValue(plaintext)
		}
		if !errors.Is(err, secret.ErrTampered) {
			return secret.Value{}, fmt.Errorf("open version %d: %w", number, err)
		}
	}
	return secret.Value{}, errBox
}
