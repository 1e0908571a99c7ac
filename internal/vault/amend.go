package vault

import (
	"context"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// amendment is a change of a path that writes no value, under way.
type amendment struct {
	engine *Engine
	tx     *store.Tx
	caller secret.Caller
	now    time.Time
	// row is the head row, locked and verified, and changed by what is done to it. Its
	// revision is that after the change.
	row *store.Secret
	// changed is set when there is anything to write.
	changed bool
	// versions are those that the audit rows are about, one row for each.
	versions  []int64
	destroyed []int64
	// described is what Rollback and Promote return.
	described *store.Version
	// record takes further audit rows, of what else is written in the transaction.
	record func(audit.Entry)
}

// amend authorises r, and applies a change to the path it names in one transaction,
// with audit rows and a change of the given kind. A change that turns out to be none
// is audited only.
func (e *Engine) amend(ctx context.Context, r request, kind changes.Kind, apply func(context.Context, *amendment) error) (*amendment, error) {
	head, err := e.head(ctx, r.caller, secret.Ref{Path: r.ref.Path})
	if err != nil {
		return nil, err
	}
	verdict := e.judge(ctx, r, head)
	if verdict.err == nil && head.Secret == nil {
		verdict = r.deny(ruleMissing)
	}
	if verdict.err != nil {
		return nil, e.record(ctx, verdict)
	}
	a := &amendment{}
	change := changes.Change{Kind: kind, Path: r.ref.Path}
	err = e.transact(ctx, r.action, func(tx *store.Tx, record func(audit.Entry)) error {
		*a = amendment{engine: e, tx: tx, caller: r.caller, now: e.now(), record: record}
		if err := a.run(ctx, r.ref.Path, apply); err != nil {
			return err
		}
		change.Version = a.row.CurrentVersion
		if a.changed {
			tx.InsertChange(change)
		}
		for _, version := range a.versions {
			entry := verdict.entry
			entry.Version = version
			record(entry)
		}
		return nil
	})
	if err != nil {
		return nil, e.recordFailedWrite(ctx, r, err)
	}
	if a.changed {
		e.announce(change)
		e.forget(ctx, a.row.ID, a.destroyed)
	}
	return a, nil
}

func (a *amendment) run(ctx context.Context, path secret.Path, apply func(context.Context, *amendment) error) error {
	row, err := a.tx.LockSecret(ctx, path.String())
	switch {
	case err != nil:
		return err
	case row == nil:
		return secret.ErrDenied
	case !a.engine.verifySecret(row):
		return secret.ErrTampered
	}
	a.row = row
	row.Revision++
	if err := apply(ctx, a); err != nil || !a.changed {
		return err
	}
	row.MAC = a.engine.secretMAC(row)
	a.tx.UpdateSecret(row)
	return nil
}

// amendPath notes that the row is changed without a version: its older self must not
// come back.
func (a *amendment) amendPath() {
	a.changed = true
	a.row.AmendedRevision = a.row.Revision
	a.tx.InsertAmendment(a.row.ID, 0, a.row.Revision)
}

// amendVersion writes the changed state of a version of row, whose revision is that of
// the change.
func (e *Engine) amendVersion(tx *store.Tx, row *store.Secret, v *store.Version) {
	row.AmendedRevision, v.AmendedRevision = row.Revision, row.Revision
	v.MAC = e.versionMAC(v)
	tx.UpdateVersion(v)
	tx.InsertAmendment(row.ID, v.Version, row.Revision)
}

// delete takes a version away until it is undeleted, and reports whether there was anything to do.
func (a *amendment) delete(v *store.Version) bool {
	if v.DeletedAt != nil || v.DestroyedAt != nil {
		return false
	}
	v.DeletedAt, a.changed = &a.now, true
	a.engine.amendVersion(a.tx, a.row, v)
	return true
}

// destroy removes the value of a version.
func (a *amendment) destroy(v *store.Version) {
	v.DestroyedAt = &a.now
	a.changed = true
	a.engine.amendVersion(a.tx, a.row, v)
	a.destroyed = append(a.destroyed, v.Version)
	unlabel(a.row, v.Version)
}

// version reads one version of the path, which must be usable.
func (a *amendment) version(ctx context.Context, number int64) (*store.Version, error) {
	return a.engine.lockedVersion(ctx, a.tx, a.row, number)
}

// lockedVersion reads one version of a locked path, which must be usable.
func (e *Engine) lockedVersion(ctx context.Context, tx *store.Tx, row *store.Secret, number int64) (*store.Version, error) {
	found, err := tx.NamedVersions(ctx, row.ID, []int64{number})
	if err != nil {
		return nil, err
	}
	var v *store.Version
	if len(found) == 1 {
		v = &found[0]
	}
	return v, e.usable(row, number, v)
}

// named reads versions of the path, whatever their state, in order.
func (a *amendment) named(ctx context.Context, numbers []int64) ([]store.Version, error) {
	found, err := a.tx.NamedVersions(ctx, a.row.ID, numbers)
	if err != nil {
		return nil, err
	}
	for _, number := range numbers {
		i := slices.IndexFunc(found, func(v store.Version) bool { return v.Version == number })
		switch {
		case number < a.row.FirstVersion || number > a.row.LastVersion:
			return nil, secret.ErrVersionNotFound
		case i < 0:
			return nil, errVersionAbsent
		case !a.engine.verifyVersion(&found[i]):
			return nil, errVersionMAC
		case found[i].Deletion:
			return nil, secret.ErrVersionNotFound
		}
	}
	return found, nil
}

// forget drops the boxes of destroyed versions from the caches. What stays, or comes
// back by a read that began before, cannot be opened: the wrapped key is gone.
func (e *Engine) forget(ctx context.Context, id store.ID, versions []int64) {
	for _, version := range versions {
		e.cache.Forget(context.WithoutCancel(ctx), e.cacheName(id, version))
	}
}
