package vault

import (
	"context"
	"log/slog"

	"github.com/coffer-vault/coffer/internal/vault/address"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// openDatabase opens the stores of the ordinary role and of the owner, which are one when no owner is given, and brings the
// schema and the rights of the ordinary role up to date. The returned function closes both.
func openDatabase(ctx context.Context, o Options) (db, owner *store.Store, closeBoth func(), err error) {
	db, err = store.OpenSource(ctx, address.Source{URL: o.DatabaseURL, Files: o.DatabaseFiles}, o.Logger)
	if err != nil {
		return nil, nil, nil, err
	}
	owner, closeBoth = db, db.Close
	if source := (address.Source{URL: o.OwnerURL, Files: o.OwnerFiles}); !source.IsZero() {
		if owner, err = store.OpenSource(ctx, source, o.Logger); err != nil {
			db.Close()
			return nil, nil, nil, err
		}
		closeBoth = func() { owner.Close(); db.Close() }
	}
	if err := prepareDatabase(ctx, db, owner); err != nil {
		closeBoth()
		return nil, nil, nil, err
	}
	return db, owner, closeBoth, nil
}

func prepareDatabase(ctx context.Context, db, owner *store.Store) error {
	if owner == db {
		return db.Migrate(ctx)
	}
	if err := owner.CheckOwner(ctx); err != nil {
		return err
	}
	if err := owner.Migrate(ctx); err != nil {
		return err
	}
	return owner.GrantTo(ctx, db)
}

// lookAtRights says whether the role of the process can do more to the audit log than add rows, when that is news.
func (e *Engine) lookAtRights(ctx context.Context) error {
	reason, err := e.store.ErasureRight(ctx)
	if err != nil {
		return err
	}
	role, err := e.store.Role(ctx)
	if err != nil {
		return err
	}
	before := e.erasable.Swap(&reason)
	if before != nil && *before == reason {
		return nil
	}
	log := e.logger.With(slog.String("role", role))
	if reason == "" {
		e.metrics.erasable.Set(0)
		log.InfoContext(ctx, "the database role can only add rows to the audit log")
		return nil
	}
	e.metrics.erasable.Set(1)
	log.WarnContext(ctx, "the database role can change and remove rows of the audit log: that is noticed, and not prevented; "+
		"see \"Two database roles\" in docs/operations.md", "reason", reason)
	return nil
}

// isErasable reports whether the role of the process may change the log, as far as that is known.
func (e *Engine) isErasable() bool {
	reason := e.erasable.Load()
	return reason == nil || *reason != ""
}

// foundErasable reports whether it is known that the role of the process may change the log.
func (e *Engine) foundErasable() bool {
	reason := e.erasable.Load()
	return reason != nil && *reason != ""
}

// ErrOwner is an error of Open that waiting does not mend: the database roles are not as they must be.
var ErrOwner = store.ErrOwner
