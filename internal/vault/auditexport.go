package vault

import (
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// exportBatch is how many rows are read at a time, and exportScan bounds one page by a caller
	// who may see little of much.
	exportBatch = 2000
	exportScan  = 20_000
	// admittedFor is how long pages of one export follow from its audit row. An export that takes
	// longer, or that follows the log, has a row each hour.
	admittedFor = time.Hour
)

// ruleAuditsNothing is the audit row of an export by somebody who may audit nothing.
const ruleAuditsNothing = "no rule allows audit on any path"

// ExportAudit gives a page of the audit log, oldest rows first, with what chains them. It shows those that a
// search would show. A row that commits while pages are read is of the next run: see audit.Position.
// The first page of a run is audited, and the others are as long as they come with its position. A
// caller who may audit nothing is denied.
//
// Errors: secret.ErrDenied, secret.ErrTampered, secret.ErrUnavailable, secret.ErrInvalid,
// also for a position that is none.
func (e *Engine) ExportAudit(ctx context.Context, caller secret.Caller, q audit.ExportQuery) (_ audit.ExportPage, err error) {
	ctx, done := e.begin(ctx, audit.Export)
	defer func() { done(err) }()
	if err := validateQuery(q.Query); err != nil {
		return audit.ExportPage{}, err
	}
	q = q.Normal()
	position, admitted, err := e.exportPosition(caller, q)
	if err != nil {
		return audit.ExportPage{}, err
	}
	heads, err := e.store.Heads(ctx, store.Wanted{Cluster: caller.Cluster})
	if err != nil {
		return audit.ExportPage{}, fmt.Errorf("export the audit log: %w", err)
	}
	reader := &auditReader{engine: e, caller: caller, head: store.Head{Policies: heads[0].Policies}, decided: map[string]policy.Decision{}}
	v := e.judgeExport(ctx, reader, q)
	if v.err != nil {
		return audit.ExportPage{}, e.record(ctx, v)
	}
	x := &exporter{auditReader: reader, query: q, position: position}
	if err := x.read(ctx); err != nil {
		return audit.ExportPage{}, fmt.Errorf("export the audit log: %w", err)
	}
	if now := e.now(); now.Sub(admitted) > admittedFor || admitted.After(now) {
		v.entry.Rule = reader.rule(q.PathPrefix)
		if err := e.record(ctx, v); err != nil {
			return audit.ExportPage{}, err
		}
		admitted = now
	}
	x.page.Next, err = e.formatPosition(caller, q, position, admitted)
	return x.page, err
}

// judgeExport decides whether there may be anything to show to the caller at all.
func (e *Engine) judgeExport(ctx context.Context, reader *auditReader, q audit.ExportQuery) verdict {
	v := verdict{entry: newEntry(reader.caller, audit.Export, q.PathPrefix, 0, audit.Allowed, "")}
	whole, err := reader.may(ctx, q.PathPrefix)
	if err == nil && !whole {
		var rules []policy.Rule
		rules, err = e.rules(ctx, reader.caller.Cluster, reader.head.Policies)
		if err == nil && !policy.AllowedSomewhere(rules, reader.caller, policy.Audit, e.now()) {
			v.entry.Decision, v.entry.Rule = audit.Denied, ruleAuditsNothing
			v.err = fmt.Errorf("export the audit log of %q: %w", q.PathPrefix, secret.ErrDenied)
		}
	}
	if err != nil {
		v.entry.Decision, v.entry.Rule = audit.Failed, undecided(err)
		v.err = fmt.Errorf("export the audit log of %q: %w", q.PathPrefix, err)
	}
	return v
}

// exportPosition reads q.After, and when the run that it is of was audited; long ago when it was not.
func (e *Engine) exportPosition(caller secret.Caller, q audit.ExportQuery) (p *audit.Position, admitted time.Time, err error) {
	switch {
	case q.After == "":
		return &audit.Position{}, time.Time{}, nil
	case q.FromNow:
		return nil, time.Time{}, fmt.Errorf("%w: an export goes on after a position or begins now, not both", secret.ErrInvalid)
	}
	p, seal, err := audit.ParsePosition(q.After)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w: after: %w; give it as an export gave it, or leave it out", secret.ErrInvalid, err)
	}
	if len(seal) > 8 {
		at := time.Unix(int64(binary.BigEndian.Uint64(seal)), 0)
		if want, err := e.sealExportPosition(caller, q, p, at); err == nil && hmac.Equal(want, seal) {
			admitted = at
		}
	}
	return p, admitted, nil
}

// purposeExportPosition is the MAC of positions: see sealExportPosition.
const purposeExportPosition = "vault/audit-export/1"

// sealExportPosition says that an export by caller, with the filters of q, was audited at a time and has come
// to p. Without it a position is as good, and the page is audited anew.
func (e *Engine) sealExportPosition(caller secret.Caller, q audit.ExportQuery, p *audit.Position, at time.Time) ([]byte, error) {
	position, err := p.MarshalBinary()
	if err != nil {
		return nil, err
	}
	filters := fmt.Sprintf("%q %q %q %q %d %d %t", q.PathPrefix, q.Caller, q.Action, q.Decision, q.Since.UnixNano(), q.Until.UnixNano(), q.Anchors)
	seal := binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))
	mac := e.keyring.MAC(purposeExportPosition, e.vaultID[:], []byte(caller.Cluster), []byte(caller.String()), []byte(filters), position, seal)
	return append(seal, mac[:]...), nil
}

func (e *Engine) formatPosition(caller secret.Caller, q audit.ExportQuery, p *audit.Position, admitted time.Time) (string, error) {
	seal, err := e.sealExportPosition(caller, q, p, admitted)
	if err != nil {
		return "", err
	}
	return audit.FormatPosition(p, seal)
}

// exporter makes one page.
type exporter struct {
	*auditReader
	query    audit.ExportQuery
	position *audit.Position
	page     audit.ExportPage
	scanned  int
}

// read moves the position on, and begins a run when none is under way.
func (x *exporter) read(ctx context.Context) error {
	if !x.position.Running() {
		if err := x.begin(ctx); err != nil || x.query.FromNow {
			return err
		}
	}
	for x.position.Upwards() && !x.full() {
		if err := x.upwards(ctx); err != nil {
			return err
		}
	}
	late, bottom := int64(0), false
	if !x.position.Upwards() {
		late = x.position.Late()
	}
	for late > 0 && !bottom && !x.full() {
		var err error
		if late, bottom, err = x.downwards(ctx, late); err != nil {
			return err
		}
	}
	slices.SortFunc(x.page.Rows, func(a, b audit.Row) int { return cmp.Compare(a.ID, b.ID) })
	if x.position.Upwards() || late > 0 && !bottom {
		x.page.More, x.page.Remaining = true, max(0, x.position.End-x.position.At)+late
		return nil
	}
	x.page.Missing = late
	x.position.Finish()
	return nil
}

func (x *exporter) begin(ctx context.Context) error {
	moment, end, err := x.engine.store.AuditMoment(ctx)
	if err != nil {
		return err
	}
	if x.query.FromNow {
		*x.position = audit.Position{Had: moment, HadID: end}
		return nil
	}
	from := int64(0)
	if x.position.Had == nil {
		if from, end, err = x.engine.store.AuditRange(ctx, x.query.Since, x.query.Until, end); err != nil {
			return err
		}
	}
	x.position.Begin(moment, end, from)
	return nil
}

func (x *exporter) full() bool { return len(x.page.Rows) >= x.query.Limit || x.scanned >= exportScan }

// batch is how many rows to read: not many more than the page has room for.
func (x *exporter) batch() int {
	return min(exportBatch, max(exportBatch/10, x.query.Limit-len(x.page.Rows)))
}

func (x *exporter) upwards(ctx context.Context) error {
	n := x.batch()
	rows, err := x.engine.store.AuditUpwards(ctx, x.position.At, x.position.End, n)
	if err != nil {
		return err
	}
	x.scanned += len(rows)
	for i := range rows {
		if len(x.page.Rows) == x.query.Limit {
			return nil
		}
		x.position.At = rows[i].ID
		if _, err := x.take(ctx, &rows[i]); err != nil {
			return err
		}
	}
	if len(rows) < n {
		x.position.At = x.position.End
	}
	return nil
}

// downwards looks for late rows, and returns how many are left and whether there are no lower ids.
func (x *exporter) downwards(ctx context.Context, late int64) (left int64, bottom bool, err error) {
	before, n := x.position.Back, x.batch()
	if before == 0 {
		before = x.position.HadID + 1
	}
	rows, err := x.engine.store.AuditDownwards(ctx, before, n)
	if err != nil {
		return 0, false, err
	}
	x.scanned += len(rows)
	for i := range rows {
		if late == 0 || len(x.page.Rows) == x.query.Limit {
			return late, false, nil
		}
		x.position.Back = rows[i].ID
		taken, err := x.take(ctx, &rows[i])
		if err != nil {
			return 0, false, err
		}
		if taken {
			late--
		}
	}
	return late, len(rows) < n, nil
}

// take adds r to the page when it is of the run, selected and the caller's to see. It reports whether it is
// of the run.
func (x *exporter) take(ctx context.Context, r *audit.Row) (bool, error) {
	if !x.position.Take(r) {
		return false, nil
	}
	if !x.query.Selects(&r.Entry) {
		return true, nil
	}
	may, err := x.show(ctx, r.Path)
	if may {
		x.page.Rows = append(x.page.Rows, *r)
	}
	return true, err
}
