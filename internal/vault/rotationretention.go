package vault

import (
	"context"

	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// keptRuns is how many ended runs of a rotation are kept for keptRunYears; the shownRuns newest are kept for good. What they did is
	// in the audit log for as long as that is.
	keptRuns     = 100
	keptRunYears = 1
	// removedRuns bounds what one statement removes.
	removedRuns = 5000
)

// RemoveOldRuns removes the ended runs of rotations that are old. The engine does so by itself, at the start and each hour, as the role
// that owns the tables: the ordinary one may remove none, so that nobody who has it can hide a step.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) RemoveOldRuns(ctx context.Context) error {
	now, err := e.owner.Now(ctx)
	if err != nil {
		return err
	}
	if mine := e.now(); mine.Before(now) { // a clock that is wrong must cost no run
		now = mine
	}
	keep := store.KeptRuns{Shown: shownRuns, Most: keptRuns, Since: now.AddDate(-keptRunYears, 0, 0)}
	for {
		n, err := e.owner.RemoveRotationRuns(ctx, keep, removedRuns)
		if err != nil || n < removedRuns {
			return err
		}
	}
}
