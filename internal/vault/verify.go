package vault

import (
	"context"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// partAudit is what policies name to let somebody check or take away the whole log.
var partAudit = secret.System("audit")

// VerifyAudit is Verification, done at once; ctx bounds it.
func (e *Engine) VerifyAudit(ctx context.Context, caller secret.Caller, progress func(rows, remaining int64) error) (audit.Report, error) {
	verify, err := e.Verification(ctx, caller)
	if err != nil {
		return audit.Report{}, err
	}
	return verify(ctx, progress)
}

// Verification authorises a verification, which needs the audit capability on sys/audit, and returns what does it:
// it reads the whole audit log as of one moment and reports every row that was changed, removed, put in
// another's place or added past the engine. It takes some seconds for each million rows, and ctx bounds it. progress, which may
// be nil, hears now and then how many rows were checked and how many there are at most still to
// be; its error ends the verification.
//
// Nothing can be said of rows from before the log was chained. Rows cut off the end of a writer are found when its
// stored head, an anchor of another writer, or an exported head is still there. They are truncated while the writer has
// written nothing since; those of a process that runs are missing, since it goes on behind them, at the latest with the row of the
// verification itself.
//
// Errors: secret.ErrDenied, secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) Verification(ctx context.Context, caller secret.Caller) (
	verify func(ctx context.Context, progress func(rows, remaining int64) error) (audit.Report, error), err error,
) {
	admitted, done := e.begin(ctx, audit.Verify)
	err = e.admit(admitted, caller, audit.Verify, partAudit, policy.Audit)
	done(err)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, progress func(rows, remaining int64) error) (audit.Report, error) {
		return e.verifyAudit(ctx, caller, progress)
	}, nil
}

func (e *Engine) verifyAudit(ctx context.Context, caller secret.Caller, progress func(rows, remaining int64) error) (_ audit.Report, err error) {
	// Before the snapshot of the log, which can then only be ahead of them.
	var exported []audit.Head
	if e.heads != nil {
		if exported, err = e.exportedHeads(ctx); err != nil {
			return audit.Report{}, err
		}
	}
	_, end, err := e.store.AuditMoment(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	verifier := audit.NewVerifier(e.chain)
	err = e.store.WalkAudit(ctx, verifier.Checkpoint, func(row *audit.Row) error {
		verifier.Row(row)
		if progress != nil && verifier.Rows()%progressEvery == 0 {
			if err := progress(verifier.Rows(), max(0, end-row.ID)); err != nil {
				return err
			}
		}
		return ctx.Err()
	}, verifier.Stored)
	if err != nil {
		return audit.Report{}, fmt.Errorf("verify the audit log, after %d rows: %w", verifier.Rows(), err)
	}
	if e.heads != nil {
		verifier.Exported(exported)
	}
	report := verifier.Report()
	report.Erasable = e.isErasable()
	e.metrics.verified(len(report.Findings), e.now())
	if len(report.Findings) > 0 {
		found := newEntry(caller, audit.Verify, partAudit.String(), 0, audit.Failed, fmt.Sprintf("%d findings in %d rows", len(report.Findings), report.Rows))
		e.logger.ErrorContext(ctx, "the audit log fails its integrity check", "findings", len(report.Findings), "rows", report.Rows)
		return report, e.record(ctx, verdict{entry: found})
	}
	return report, nil
}

// progressEvery is how many rows lie between two reports of progress.
const progressEvery = 5000
