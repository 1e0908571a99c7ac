package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// maintainEvery is how often the partitions of the audit log are looked at.
	maintainEvery = time.Hour
	// maintainAgain is how soon that is tried again when it failed.
	maintainAgain = 5 * time.Minute
	// maintainAtStart bounds the first time, which a start waits for, and maintainWithin the others: verifying a month
	// takes some seconds for each million rows.
	maintainAtStart = 30 * time.Second
	maintainWithin  = 30 * time.Minute
)

var errUnverified = errors.New("its rows are not as they were written")

// startAuditKeeper looks after the partitions of the audit log, and removes old runs of rotations, now, and then in the background; the
// returned function ends that and waits for it.
func (e *Engine) startAuditKeeper(ctx context.Context) func() {
	next := e.maintainIn(ctx, maintainAtStart)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(next):
				next = e.maintainIn(ctx, maintainWithin)
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// maintainIn does so for as long as limit, and returns when to do so again.
func (e *Engine) maintainIn(ctx context.Context, limit time.Duration) time.Duration {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	next := maintainEvery
	if err := e.MaintainAudit(limited); err != nil && ctx.Err() == nil {
		e.logger.WarnContext(ctx, "the partitions of the audit log were not looked after; trying again", "error", err)
		next = maintainAgain
	}
	if err := e.RemoveOldRuns(limited); err != nil && ctx.Err() == nil {
		e.logger.WarnContext(ctx, "old runs of rotations were not removed; trying again", "error", err)
		next = maintainAgain
	}
	return next
}

// MaintainAudit makes the months of the audit log ahead of time, moves rows that are in no month's partition to theirs, and
// drops months that are older than the retention. The engine does so by itself, at the start and each hour. It
// may be called by several replicas at the same time; what one is at another leaves alone. Who writes audit rows
// never waits longer than some seconds for it, and not at all for months that are made ahead.
//
// Months whose rows fail their integrity check are not dropped, and that is no error: it is in the log and in a metric.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) MaintainAudit(ctx context.Context) error {
	return errors.Join(e.makeMonths(ctx), e.dropExpired(ctx), e.lookAtRights(ctx))
}

func (e *Engine) makeMonths(ctx context.Context) error {
	now := e.now()
	parts, err := e.owner.AuditParts(ctx)
	if err != nil {
		return err
	}
	stray, err := e.owner.StrayMonths(ctx, now)
	if err != nil {
		return err
	}
	var errs []error
	toMake := audit.MonthsToMake(now, parts, stray)
	for _, m := range toMake {
		moved, err := e.owner.MakeAuditMonth(ctx, m)
		if err != nil && !errors.Is(err, store.ErrBusy) {
			errs = append(errs, err)
		}
		if moved > 0 {
			e.logger.InfoContext(ctx, "audit rows were moved to the partition of their month", "month", m.String(), "rows", moved)
		}
	}
	if e.owner != e.store && (len(toMake) > 0 || e.foundErasable()) {
		// A new table may have got rights by the database's default privileges, and any by hand. What was found is taken away after it
		// was said.
		errs = append(errs, e.owner.GrantTo(ctx, e.store))
	}
	if parts, err = e.owner.AuditParts(ctx); err != nil {
		return errors.Join(append(errs, err)...)
	}
	missing := audit.MonthsToMake(now, parts, nil)
	e.metrics.monthsMissing.Set(float64(len(missing)))
	return errors.Join(errs...)
}

// dropExpired drops the months that are older than the retention, by the clock of this process and of the database: one
// that is wrong must not cost the log.
func (e *Engine) dropExpired(ctx context.Context) error {
	if e.retention <= 0 {
		return nil
	}
	now, err := e.owner.Now(ctx)
	if err != nil {
		return err
	}
	if mine := e.now(); mine.Before(now) {
		now = mine
	}
	parts, err := e.owner.AuditParts(ctx)
	if err != nil {
		return err
	}
	refused := 0
	var errs []error
	for _, p := range audit.Expired(now, e.retention, parts) {
		err := e.dropPart(ctx, p)
		switch {
		case errors.Is(err, errUnverified):
			refused++
			e.logger.ErrorContext(ctx, "a part of the audit log is old enough to be dropped, and is kept because it fails its integrity check", "part", p.Name, "error", err)
		case err != nil && !errors.Is(err, store.ErrBusy):
			errs = append(errs, err)
		}
	}
	e.metrics.unverifiedParts.Set(float64(refused))
	return errors.Join(errs...)
}

// dropPart drops a part of the log, and in the same transaction writes the checkpoint that says which rows that were.
func (e *Engine) dropPart(ctx context.Context, p audit.Part) error {
	operation := string(audit.Checkpoint)
	failpoint.Hit(operation, failpoint.Begun)
	var closing *audit.Closing
	var rows []audit.Row
	err := e.owner.InTx(ctx, func(tx *store.Tx) error {
		closing = audit.NewClosing(e.chain)
		err := tx.ReadAuditPart(ctx, p, func(row *audit.Row) error {
			closing.Row(row)
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		if err := e.verifyPart(ctx, tx, closing); err != nil {
			return err
		}
		if rows, err = e.appendCheckpoint(ctx, tx, p, closing); err != nil {
			return err
		}
		if err := tx.DropAuditPart(ctx, p); err != nil {
			return err
		}
		failpoint.Hit(operation, failpoint.BeforeCommit)
		return nil
	})
	if errors.Is(err, store.ErrOutcomeUnknown) {
		e.tail.Unsure(rows)
	}
	if err != nil {
		return fmt.Errorf("drop the part %s of the audit log: %w", p.Name, err)
	}
	e.tail.Durable(rows)
	failpoint.Hit(operation, failpoint.AfterCommit)
	e.unanchored.Store(true)
	e.logger.InfoContext(ctx, "a part of the audit log was dropped: it is older than the retention", "part", p.Name, "rows", closing.Rows(), "writers", closing.Writers())
	return nil
}

// verifyPart returns errUnverified when a row of the part is not as it was written, or is not there. Rows that are
// missing at the beginning or the end of a writer are missing afterwards too: no checkpoint names them.
func (e *Engine) verifyPart(ctx context.Context, tx *store.Tx, closing *audit.Closing) error {
	if wrong := closing.Wrong(); wrong != "" {
		return fmt.Errorf("%w: %s", errUnverified, wrong)
	}
	checkpoints, err := tx.Checkpoints(ctx)
	if err != nil {
		return err
	}
	var before audit.Dropped
	for i := range checkpoints {
		if !e.chain.Verify(&checkpoints[i]) {
			continue
		}
		if said, err := audit.ParseDropped(checkpoints[i].Heads); err == nil {
			before = before.Merge(said)
		}
	}
	for _, gap := range closing.Gaps(before) {
		there, err := tx.CountAuditRows(ctx, gap)
		if err != nil {
			return err
		}
		if there != gap.Last-gap.First+1 {
			return fmt.Errorf("%w: rows %d to %d of writer %s are missing", errUnverified, gap.First, gap.Last, gap.Writer)
		}
	}
	return nil
}

// appendCheckpoint writes the checkpoint, as the only row of a new writer: nobody else waits for the head of that while
// this transaction waits for the log.
func (e *Engine) appendCheckpoint(ctx context.Context, tx *store.Tx, p audit.Part, closing *audit.Closing) ([]audit.Row, error) {
	ids, err := tx.ReserveAuditIDs(ctx, 1)
	if err != nil {
		return nil, err
	}
	entry := newEntry(anchorer, audit.Checkpoint, partAudit.String(), 0, audit.Allowed,
		fmt.Sprintf("retention of %d months: dropped %s, %d rows of %d writers until %s", e.retention, p.Name, closing.Rows(), closing.Writers(), p.To.Format(time.DateOnly)))
	entry.At = e.now()
	rows := e.link(audit.Head{Writer: uuid.New()}, ids, closing.Dropped().Format(), []audit.Entry{entry})
	tx.AppendAudit(rows, e.chain.Seal(rows[0].Head()))
	return rows, nil
}
