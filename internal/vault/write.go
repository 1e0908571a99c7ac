package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Put writes a new version of a path, which it makes when there is none. It needs
// the write capability, and share besides when the request has an access policy.
// The request's value stays the caller's to clear.
//
// A path that was deleted begins anew, without its former description, tags and
// access policy, and goes on with the next version number; its former versions
// cannot be read.
//
// A request with an idempotency key that was answered before gets the answer again,
// and writes nothing.
//
// Errors: secret.ErrDenied, secret.ErrConflict (also as secret.ErrKeyReused),
// secret.ErrInvalid, secret.ErrInvalidValue, secret.ErrTampered, and
// secret.ErrUnavailable: then the version may have been written all the same, and a
// request that had an idempotency key can be sent again.
func (e *Engine) Put(ctx context.Context, caller secret.Caller, req secret.PutRequest) (secret.Metadata, error) {
	return e.write(ctx, caller, req, writeKind{action: audit.Put, change: changes.Put, capability: policy.Write})
}

// Rotate writes a new version of a path that exists. It needs the rotate
// capability, and share besides when the request has an access policy.
//
// Errors are those of Put.
func (e *Engine) Rotate(ctx context.Context, caller secret.Caller, req secret.PutRequest) (secret.Metadata, error) {
	return e.write(ctx, caller, req, writeKind{action: audit.Rotate, change: changes.Rotate, capability: policy.Rotate, mustExist: true})
}

// writeKind is what tells Put from Rotate.
type writeKind struct {
	action     audit.Action
	change     changes.Kind
	capability policy.Capability
	mustExist  bool
	// merges: the request's value is a patch of the current one.
	merges bool
	// with, when not nil, writes in the transaction what belongs to the version; it may run again, as the whole does.
	with func(ctx context.Context, tx *store.Tx, version int64, record func(audit.Entry)) error
}

func (e *Engine) write(ctx context.Context, caller secret.Caller, req secret.PutRequest, kind writeKind) (_ secret.Metadata, err error) {
	ctx, done := e.begin(ctx, kind.action)
	defer func() { done(err) }()
	if err := validate(req); err != nil {
		return secret.Metadata{}, err
	}
	r := request{caller: caller, action: kind.action, ref: secret.Ref{Path: req.Path}, need: []policy.Capability{kind.capability}, needAll: true}
	if req.Access != nil {
		r.need = append(r.need, policy.Share)
	}
	head, err := e.head(ctx, caller, r.ref)
	if err != nil {
		return secret.Metadata{}, err
	}
	verdict := e.judge(ctx, r, head)
	if verdict.err == nil && kind.mustExist && !isLive(head.Secret) {
		verdict = r.deny(ruleMissing)
	}
	if verdict.err != nil {
		return secret.Metadata{}, e.record(ctx, verdict)
	}
	w := &writing{engine: e, request: r, kind: kind, put: req, allowed: verdict.entry, now: e.now()}
	if kind.merges {
		defer func() { w.value.Clear() }()
	} else {
		w.value = req.Value
		if err := w.seal(ctx, head.Secret); err != nil {
			return secret.Metadata{}, fmt.Errorf("%s %s: %w", kind.action, req.Path, err)
		}
	}
	if err := e.transact(ctx, kind.action, func(tx *store.Tx, record func(audit.Entry)) error { return w.run(ctx, tx, record) }); err != nil {
		return secret.Metadata{}, e.recordFailedWrite(ctx, r, err)
	}
	if !w.repeated {
		e.announce(w.change)
		e.forget(ctx, w.row.ID, w.destroyed)
	}
	return metadata(req.Path, w.row, w.version), nil
}

// recordFailedWrite audits a write that was allowed and found under the lock that
// it cannot be.
func (e *Engine) recordFailedWrite(ctx context.Context, r request, err error) error {
	switch {
	case errors.Is(err, secret.ErrConflict), errors.Is(err, secret.ErrVersionNotFound), errors.Is(err, secret.ErrTampered):
		return e.record(ctx, r.fail(err, ruleOf(err)))
	case errors.Is(err, secret.ErrInvalid), errors.Is(err, secret.ErrInvalidValue):
		return e.record(ctx, r.fail(err, ruleNotPossible))
	case errors.Is(err, secret.ErrDenied):
		return e.record(ctx, r.deny(ruleMissing))
	}
	return fmt.Errorf("%s %s: %w", r.action, r.ref.Path, err)
}

// writing is one Put, Rotate or Patch under way.
type writing struct {
	engine  *Engine
	request request
	kind    writeKind
	put     secret.PutRequest
	allowed audit.Entry
	now     time.Time

	// value is what is to be sealed; of a patch it is known under the lock only.
	value secret.Value

	// binding and sealed belong together. They are made before the lock is taken,
	// for the version that will most likely be next, and again under the lock when
	// another writer was faster or the key that wrapped it is destroyed.
	binding envelope.Binding
	sealed  envelope.Sealed

	// What run wrote.
	row       *store.Secret
	version   *store.Version
	change    changes.Change
	destroyed []int64 // versions beyond the path's maximum

	// repeated: nothing was written, and version is that of the first request.
	repeated bool
}

// seal seals the value for the version after current, unless that is done.
func (w *writing) seal(ctx context.Context, current *store.Secret) error {
	binding := w.engine.binding(store.ID{}, w.put.Path, 1)
	switch {
	case current != nil:
		binding.Secret, binding.Version = current.ID, current.LastVersion+1
	case w.binding.Version == 1:
		binding.Secret = w.binding.Secret // the id once chosen for a new path
	default:
		binding.Secret = uuid.New()
	}
	if binding == w.binding && w.engine.keyring.Holds(w.sealed.WrappedKey) {
		return nil
	}
	sealed, err := envelope.Seal(ctx, w.engine.keyring, binding, w.value.Bytes())
	if err != nil {
		return err
	}
	w.binding, w.sealed = binding, sealed
	return nil
}

// run writes the version in tx. It may be run again when tx lost a race.
func (w *writing) run(ctx context.Context, tx *store.Tx, record func(audit.Entry)) error {
	w.row, w.version, w.destroyed, w.repeated = nil, nil, nil, false
	current, err := tx.LockSecret(ctx, w.put.Path.String())
	if err != nil {
		return err
	}
	if current == nil {
		if current, err = w.create(ctx, tx); err != nil {
			return err
		}
	}
	if current != nil {
		if err := w.update(ctx, tx, current); err != nil {
			return err
		}
	}
	entry := w.allowed
	if w.repeated {
		entry.Version = w.version.Version
		entry.Rule += ruleRepeated
		record(entry)
		return nil
	}
	w.version = &store.Version{
		SecretID: w.row.ID, Version: w.binding.Version, WrappedKey: w.sealed.WrappedKey,
		CreatedAt: w.now, CreatedBy: w.request.caller.String(),
	}
	w.version.MAC = w.engine.versionMAC(w.version)
	tx.InsertVersion(w.version, w.sealed.Box)
	if err := w.remember(tx); err != nil {
		return err
	}
	w.change = changes.Change{Kind: w.kind.change, Path: w.put.Path, Version: w.row.CurrentVersion}
	if w.put.Pending {
		w.change.Kind = changes.Pending
	}
	tx.InsertChange(w.change)
	entry.Version = w.version.Version
	record(entry)
	if w.kind.with != nil {
		return w.kind.with(ctx, tx, w.version.Version, record)
	}
	return nil
}

// create writes the head row of a new path. When another writer made the path
// meanwhile, it returns that row, locked, and has written nothing.
func (w *writing) create(ctx context.Context, tx *store.Tx) (*store.Secret, error) {
	if err := w.mayFollow(nil); err != nil {
		return nil, err
	}
	if err := w.seal(ctx, nil); err != nil {
		return nil, err
	}
	row := w.next(nil)
	row.MAC = w.engine.secretMAC(row)
	inserted, err := tx.InsertSecret(ctx, row)
	if err != nil || inserted {
		w.row = row
		return nil, err
	}
	return tx.LockSecret(ctx, row.Path)
}

func (w *writing) update(ctx context.Context, tx *store.Tx, current *store.Secret) error {
	if !w.engine.verifySecret(current) {
		return secret.ErrTampered
	}
	if err := w.findFirst(ctx, tx, current); err != nil || w.repeated {
		return err
	}
	if err := w.mayFollow(current); err != nil {
		return err
	}
	if w.kind.merges {
		if err := w.merge(ctx, tx, current); err != nil {
			return err
		}
	}
	if err := w.seal(ctx, current); err != nil {
		return err
	}
	w.row = w.next(current)
	if err := w.prune(ctx, tx); err != nil {
		return err
	}
	w.row.MAC = w.engine.secretMAC(w.row)
	tx.UpdateSecret(w.row)
	return nil
}

// mayFollow is what only the locked row can tell: whether the path exists, and
// compare-and-set.
func (w *writing) mayFollow(current *store.Secret) error {
	var version int64
	if isLive(current) {
		version = current.CurrentVersion
	}
	if w.kind.mustExist && version == 0 {
		return secret.ErrDenied
	}
	if err := compare(w.put.ExpectedVersion, version); err != nil {
		return err
	}
	if w.put.Pending && version == 0 {
		return fmt.Errorf("%w: the first version of a path cannot be pending; write it without", secret.ErrInvalid)
	}
	return nil
}

// compare is compare-and-set: it fails unless nothing or the current version is
// expected.
func compare(expected *int64, current int64) error {
	if expected != nil && *expected != current {
		return fmt.Errorf("%w: expected %d, it is %d", secret.ErrConflict, *expected, current)
	}
	return nil
}

// next is the head row after the write, without its MAC.
func (w *writing) next(current *store.Secret) *store.Secret {
	row := &store.Secret{ID: w.binding.Secret, Path: w.put.Path.String()}
	if isLive(current) {
		*row = *current
	} else {
		row.FirstVersion = w.binding.Version
	}
	if current != nil {
		row.Revision, row.AmendedRevision = current.Revision, current.AmendedRevision
	}
	row.Revision++
	row.LastVersion, row.Newest = w.binding.Version, w.binding.Version
	if w.put.Pending {
		row.PendingVersion = w.binding.Version
	} else {
		makeCurrent(row, w.binding.Version)
	}
	applyPut(row, w.put)
	return row
}

// applyPut sets what the request gives. Lists and tags are never nil: a nil is
// NULL in Postgres.
func applyPut(row *store.Secret, req secret.PutRequest) {
	if req.Description != nil {
		row.Description = *req.Description
	}
	if req.Tags != nil {
		row.Tags = maps.Clone(req.Tags)
	}
	if req.RotateAfterDays != nil {
		row.RotateAfterDays = *req.RotateAfterDays
	}
	if req.MaxVersions != nil {
		row.MaxVersions = *req.MaxVersions
	}
	if req.Access != nil {
		row.AllowedServices = slices.Clone(req.Access.AllowedServices)
		row.AllowedEnvironments = slices.Clone(req.Access.AllowedEnvironments)
	}
	if row.Tags == nil {
		row.Tags = map[string]string{}
	}
	if row.AllowedServices == nil {
		row.AllowedServices = []string{}
	}
	if row.AllowedEnvironments == nil {
		row.AllowedEnvironments = []string{}
	}
}

// announce has Redis told of a committed change. Followers find it without, later.
func (e *Engine) announce(change changes.Change) {
	if e.announcer != nil {
		e.announcer.Announce(change)
	}
}

// announced counts what the announcer sent.
func (e *Engine) announced(n int, err error) {
	if err != nil {
		e.metrics.announcements.WithLabelValues("failed").Add(float64(n))
		e.logger.Warn("changes were not announced; followers will find them by polling", "changes", n, "error", err)
		return
	}
	e.metrics.announcements.WithLabelValues("ok").Add(float64(n))
}
