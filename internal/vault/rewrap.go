package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// rewrapSlice is how long one call works: long enough that its own cost is
	// nothing, short enough to show progress and to be cancelled.
	rewrapSlice = 2 * time.Second
	// rewrapBatch is how many data keys one transaction wraps anew, as a rule.
	rewrapBatch = 500
	// maxRewrapFailures ends a call: so many data keys that do not open are no
	// accident.
	maxRewrapFailures = 100
)

// ruleWrappedKey is the finding about a data key that no key opens.
const ruleWrappedKey = "the wrapped data key fails its integrity check"

// RewrapProgress is what one call of Rewrap did.
type RewrapProgress struct {
	// Rewrapped counts the versions that this call wrapped anew.
	Rewrapped int64
	// Remaining counts the versions that are not under the primary key yet.
	Remaining int64
	// Failed counts the versions among them whose data key does not open. Each is in
	// the audit log.
	Failed int64
}

// Rewrap wraps data keys anew under the primary key-encryption key, for about two
// seconds; call it until nothing remains. Values are not touched. Calls at the same
// time, on any replica, share the work, and one that is cut off leaves nothing half
// done. It needs the rotate capability on sys/keyring.
//
// Errors: secret.ErrDenied, secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) Rewrap(ctx context.Context, caller secret.Caller) (_ RewrapProgress, err error) {
	ctx, done := e.begin(ctx, audit.Rewrap)
	defer func() { done(err) }()
	if err := e.admit(ctx, caller, audit.Rewrap, keyringPart, policy.Rotate); err != nil {
		return RewrapProgress{}, err
	}
	r := &rewrapping{engine: e, request: request{caller: caller, action: audit.Rewrap, ref: secret.Ref{Path: keyringPart}}}
	if err := e.recordFailure(ctx, r.request, r.run(ctx)); err != nil {
		return RewrapProgress{}, err
	}
	return r.progress, nil
}

// rewrapping is one call of Rewrap.
type rewrapping struct {
	engine   *Engine
	request  request
	progress RewrapProgress
	// failed are the versions to pass over.
	failed []store.WrappedKey
}

func (r *rewrapping) run(ctx context.Context) error {
	book, err := r.engine.openKeyBook(ctx)
	if err != nil {
		return err
	}
	primary := uint32(book.keyset.Primary())
	uses, err := r.engine.store.KeyUses(ctx)
	if err != nil {
		return err
	}
	var old []uint32
	for id, n := range uses {
		if id != primary {
			old = append(old, id)
			r.progress.Remaining += n
		}
	}
	for end := time.Now().Add(rewrapSlice); time.Now().Before(end) && len(r.failed) < maxRewrapFailures; {
		found, err := r.batch(ctx, old)
		if err != nil {
			return err
		}
		if found == 0 {
			break
		}
	}
	r.progress.Failed = int64(len(r.failed))
	r.progress.Remaining = max(0, r.progress.Remaining-r.progress.Rewrapped)
	r.engine.metrics.rewrapped.Add(float64(r.progress.Rewrapped))
	return nil
}

// batch wraps some data keys anew, in one transaction, and returns how many it found.
func (r *rewrapping) batch(ctx context.Context, old []uint32) (found int, err error) {
	var rewrapped int64
	var failed []store.WrappedKey
	err = r.engine.transact(ctx, audit.Rewrap, func(tx *store.Tx, record func(audit.Entry)) error {
		failed = nil
		before, err := tx.LockWrappedKeys(ctx, old, r.failed, r.engine.rewrapBatch)
		found = len(before)
		if err != nil || found == 0 {
			return err
		}
		opened := make([]store.WrappedKey, 0, found)
		after := make([][]byte, 0, found)
		for _, w := range before {
			wrapped, err := r.rewrap(ctx, w)
			switch {
			case err == nil:
				opened, after = append(opened, w), append(after, wrapped)
			case errors.Is(err, secret.ErrTampered):
				failed = append(failed, w)
				record(newEntry(r.request.caller, audit.Rewrap, w.Path, w.Version, audit.Failed, ruleWrappedKey))
			default:
				return err
			}
		}
		if rewrapped, err = tx.SwapWrappedKeys(ctx, opened, after); err != nil {
			return err
		}
		record(r.request.entry(audit.Allowed, fmt.Sprintf("%d versions are under key %d", rewrapped, r.engine.keyring.Keyset().Primary())))
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, w := range failed {
		r.engine.logger.ErrorContext(ctx, "integrity check failed", "action", audit.Rewrap, "path", w.Path, "version", w.Version, "finding", ruleWrappedKey)
	}
	r.failed = append(r.failed, failed...)
	r.progress.Rewrapped += rewrapped
	return found, nil
}

func (r *rewrapping) rewrap(ctx context.Context, w store.WrappedKey) ([]byte, error) {
	path, err := secret.ParsePath(w.Path)
	if err != nil {
		return nil, secret.ErrTampered
	}
	return envelope.Rewrap(ctx, r.engine.keyring, r.engine.binding(w.SecretID, path, w.Version), w.Wrapped)
}
