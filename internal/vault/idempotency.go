package vault

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Purposes of the MACs of an idempotency key. Its name hides who used it and it; the
// request's MAC stands for a value, so it must tell nothing of it.
const (
	purposeIdempotencyName    = "vault/idempotency-name/1"
	purposeIdempotencyRequest = "vault/idempotency-request/1"
	purposeIdempotencyRow     = "vault/idempotency-row/1"
)

// ruleRepeated follows, in the audit row, the rule that allowed a repeated write.
const ruleRepeated = "; repeated with its idempotency key, nothing was written"

var errIdempotencyMAC = fmt.Errorf("%w: the row of an idempotency key was changed", secret.ErrTampered)

// idempotencyName is what the row of w's key is found by.
func (w *writing) idempotencyName() []byte {
	c := w.request.caller
	mac := w.engine.keyring.MAC(purposeIdempotencyName, w.engine.vaultID[:], []byte(c.Cluster), []byte(c.Kind), []byte(c.String()),
		[]byte(w.put.Path.String()), []byte(w.put.IdempotencyKey))
	return mac[:]
}

// idempotencyRequest tells requests apart that differ in anything, the value too.
func (w *writing) idempotencyRequest() ([]byte, error) {
	asked := w.put
	asked.Value, asked.IdempotencyKey = secret.Value{}, ""
	request, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	mac := w.engine.keyring.MAC(purposeIdempotencyRequest, w.engine.vaultID[:], []byte(w.kind.action), request, w.put.Value.Bytes())
	return mac[:], nil
}

func (e *Engine) idempotencyMAC(k *store.IdempotencyKey) []byte {
	mac := e.keyring.MAC(purposeIdempotencyRow, e.vaultID[:], k.Name, k.Request, k.SecretID[:], intBytes(k.Version), timeBytes(k.CreatedAt))
	return mac[:]
}

// findFirst looks, with the path locked, for an earlier request with w's key, and sets
// what it wrote. The lock makes requests with one key, which are of one path, take
// turns on all replicas.
func (w *writing) findFirst(ctx context.Context, tx *store.Tx, current *store.Secret) error {
	if w.put.IdempotencyKey == "" {
		return nil
	}
	first, err := tx.IdempotencyKey(ctx, w.idempotencyName())
	switch {
	case err != nil:
		return err
	case first == nil:
		return nil
	case !hmac.Equal(first.MAC, w.engine.idempotencyMAC(first)):
		return errIdempotencyMAC
	case w.now.Sub(first.CreatedAt) >= secret.IdempotencyKeyLife:
		return nil
	}
	request, err := w.idempotencyRequest()
	if err != nil {
		return err
	}
	if !hmac.Equal(first.Request, request) {
		return secret.ErrKeyReused
	}
	versions, err := tx.NamedVersions(ctx, first.SecretID, []int64{first.Version})
	switch {
	case err != nil:
		return err
	case len(versions) == 0 || first.SecretID != current.ID:
		return errVersionAbsent
	case !w.engine.verifyVersion(&versions[0]):
		return errVersionMAC
	}
	w.row, w.version, w.repeated = current, &versions[0], true
	if !isLive(current) || first.Version < current.FirstVersion {
		// What the path says now is not about the life that the version was of.
		w.row = &store.Secret{ID: current.ID, Path: current.Path}
	}
	return nil
}

// remember writes the row of w's key.
func (w *writing) remember(tx *store.Tx) error {
	if w.put.IdempotencyKey == "" {
		return nil
	}
	request, err := w.idempotencyRequest()
	if err != nil {
		return err
	}
	k := &store.IdempotencyKey{Name: w.idempotencyName(), Request: request, SecretID: w.row.ID, Version: w.version.Version, CreatedAt: w.now}
	k.MAC = w.engine.idempotencyMAC(k)
	tx.PutIdempotencyKey(k)
	return nil
}
