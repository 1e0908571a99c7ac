package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// leakBatch is how many rows of the audit log are read at a time for a report, and maxLeakRows bounds one: some
	// seconds. What is older is not told, and the report says so.
	leakBatch   = 5000
	maxLeakRows = 500_000
	// maxLeakAddresses bounds the addresses that are told of one reader.
	maxLeakAddresses = 10
	// leakSkew is by how much the clock of the replica that served a read may be behind that of the one that wrote the version.
	leakSkew = time.Hour
)

// LeakQuery asks who had a version of a path.
type LeakQuery struct {
	Path secret.Path
	// Version is 0 for the current one or, with Since, for all.
	Version int64
	// Since is from when on reads count; zero: since the version was written.
	Since time.Time
}

// LeakReport is who had a version of a path, and who has it still.
type LeakReport struct {
	Path secret.Path
	// Current is the number of the current version, and Version that of LeakQuery, or the current one; 0 for all.
	Current, Version int64
	// WrittenAt and WrittenBy are of Version; zero for all.
	WrittenAt time.Time
	WrittenBy string
	// Since is from when on reads count. They are told from CompleteSince on: before that there is no log any more, or more than can be read.
	Since, CompleteSince time.Time
	// Readers and Refused are who read it and whom something was refused there, the last first.
	Readers, Refused []LeakReader
	// Holders have it still; not known with HoldersProblem.
	Holders        []secret.Consumer
	HoldersProblem string
	// Changed rows of the audit log fail their integrity check and are told of nowhere else here. Unchained ones are from before the log
	// had one.
	Changed, Unchained int64
	// Rotation is that of the path, whose run that is under way counts first; nil when none is defined, and with RotationProblem, which says
	// why none is told of.
	Rotation        *RotationStatus
	RotationProblem string
}

// Via is the way on which something was asked for.
type Via string

// The ways.
const (
	ViaAPI Via = "api"
	// ViaOperator is for a VaultSecret, in the name of its service account.
	ViaOperator Via = "operator"
	// ViaRotation is for the rotation of the path, in the name of its service account.
	ViaRotation Via = "rotation"
)

// LeakReader is one that read a path, or was refused something there.
type LeakReader struct {
	// Kind is a secret.Kind, and Caller the audit log's, such as "payments/api".
	Kind, Caller                    string
	Cluster, Namespace, Environment string
	Via                             Via
	// Action is what was refused; empty of a reader.
	Action audit.Action
	// Versions are those that were read, in order.
	Versions []int64
	Times    int64
	FirstAt  time.Time
	LastAt   time.Time
	// Addresses are those of ViaAPI, the last first; ten at most.
	Addresses []string
}

// LeakReport tells, from the audit log, who read a version of a path, and who has it still. Each row of the log that it tells of is verified;
// that none is missing, VerifyAudit finds. It needs the audit capability.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrVersionNotFound, secret.ErrTampered, secret.ErrUnavailable,
// secret.ErrInvalid.
func (e *Engine) LeakReport(ctx context.Context, caller secret.Caller, q LeakQuery) (_ LeakReport, err error) {
	ctx, done := e.begin(ctx, audit.LeakReport)
	defer func() { done(err) }()
	if q.Version < 0 {
		return LeakReport{}, fmt.Errorf("%w: version %d; versions count from 1", secret.ErrInvalid, q.Version)
	}
	r := request{caller: caller, action: audit.LeakReport, ref: secret.Ref{Path: q.Path}, need: []policy.Capability{policy.Audit}}
	head, versions, v, err := e.headAndVersions(ctx, r, e.judgeLive)
	if err != nil {
		return LeakReport{}, fmt.Errorf("%s %s: %w", r.action, q.Path, err)
	}
	if v.err != nil {
		return LeakReport{}, e.record(ctx, v)
	}
	report, err := e.leakOf(head, versions, q)
	if err != nil {
		return LeakReport{}, e.record(ctx, r.at(q.Version).fail(err, ruleOf(err)))
	}
	if err := e.searchLeak(ctx, &report, maxLeakRows); err != nil {
		return LeakReport{}, fmt.Errorf("%s %s: %w", r.action, q.Path, err)
	}
	if err := e.addHolders(ctx, &report); err != nil {
		return LeakReport{}, fmt.Errorf("%s %s: %w", r.action, q.Path, err)
	}
	if err := e.addRotation(ctx, caller, &report); err != nil {
		return LeakReport{}, fmt.Errorf("%s %s: %w", r.action, q.Path, err)
	}
	v.entry.Version = report.Version
	if report.Changed > 0 {
		e.logger.ErrorContext(ctx, "the audit log fails its integrity check", "path", q.Path, "rows", report.Changed)
		v.entry.Rule += fmt.Sprintf("; %d rows of the audit log fail their integrity check", report.Changed)
	}
	return report, e.record(ctx, v)
}

// judgeLive authorises access to a path that must exist.
func (e *Engine) judgeLive(ctx context.Context, r request, head store.Head) verdict {
	v := e.judge(ctx, r, head)
	if v.err == nil && !isLive(head.Secret) {
		return r.deny(ruleMissing)
	}
	return v
}

// leakOf is the report before anybody is in it.
func (e *Engine) leakOf(head *store.Secret, versions []store.Version, q LeakQuery) (LeakReport, error) {
	report := LeakReport{Path: q.Path, Current: head.CurrentVersion, Version: q.Version, Since: q.Since.UTC()}
	if q.Version == 0 && !q.Since.IsZero() {
		if len(versions) > 0 {
			report.Since = later(report.Since, versions[0].CreatedAt.UTC())
		}
		return report, nil
	}
	if report.Version == 0 {
		report.Version = head.CurrentVersion
	}
	i := slices.IndexFunc(versions, func(v store.Version) bool { return v.Version == report.Version })
	switch {
	case i < 0 || versions[i].Deletion:
		return report, secret.ErrVersionNotFound
	case !e.verifyVersion(&versions[i]):
		return report, errVersionMAC
	}
	report.WrittenAt, report.WrittenBy = versions[i].CreatedAt.UTC(), versions[i].CreatedBy
	report.Since = later(report.Since, report.WrittenAt)
	return report, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// searchLeak adds what the audit log says, of at most so many rows.
func (e *Engine) searchLeak(ctx context.Context, report *LeakReport, most int) error {
	begins, err := e.store.AuditBegins(ctx)
	if err != nil {
		return err
	}
	report.CompleteSince = report.Since
	if begins.After(report.Since.Add(leakSkew)) {
		report.CompleteSince = begins
	}
	from := report.Since
	if from.Equal(report.WrittenAt) {
		from = from.Add(-leakSkew)
	}
	search := leakSearch{report: report, chain: e.chain, known: map[leakKey]*LeakReader{}}
	for before, seen := int64(math.MaxInt64), 0; ; {
		n := min(leakBatch, most-seen)
		rows, err := e.store.AuditOfLeak(ctx, report.Path.String(), from, before, n)
		if err != nil {
			return err
		}
		for i := range rows {
			search.add(&rows[i])
		}
		seen += len(rows)
		if len(rows) < n {
			break
		}
		before = rows[n-1].ID
		if seen >= most {
			report.CompleteSince = rows[n-1].At.UTC()
			break
		}
	}
	search.finish()
	return nil
}

// leakKey is by what a reader is told from others.
type leakKey struct {
	cluster, kind, caller string
	via                   Via
	refused               audit.Action
}

// leakSearch goes through rows of the audit log, the newest first.
type leakSearch struct {
	report *LeakReport
	chain  audit.Chain
	known  map[leakKey]*LeakReader
}

func (s *leakSearch) add(row *audit.Row) {
	switch {
	case row.Writer == uuid.Nil && row.Seq == 0 && len(row.MAC) == 0:
		s.report.Unchained++
	case !s.chain.Verify(row):
		s.report.Changed++
		return
	}
	key := leakKey{cluster: row.Cluster, kind: row.CallerKind, caller: row.Caller, via: viaOf(row.Address)}
	switch {
	case row.Decision == audit.Denied && !row.At.Before(s.report.Since):
		key.refused = row.Action
	case row.Action != audit.Read || row.Decision != audit.Allowed || row.Version == 0,
		s.report.Version != 0 && row.Version != s.report.Version:
		return
	}
	r := s.known[key]
	if r == nil {
		r = &LeakReader{
			Kind: row.CallerKind, Caller: row.Caller, Cluster: row.Cluster, Namespace: row.Namespace, Environment: row.Environment,
			Via: key.via, Action: key.refused, FirstAt: row.At.UTC(), LastAt: row.At.UTC(),
		}
		s.known[key] = r
	}
	r.note(row)
}

func (r *LeakReader) note(row *audit.Row) {
	r.Times++
	if at := row.At.UTC(); at.Before(r.FirstAt) {
		r.FirstAt = at
	} else if at.After(r.LastAt) { // ids are not always in the order of times
		r.LastAt = at
	}
	if r.Action == "" && !slices.Contains(r.Versions, row.Version) {
		r.Versions = append(r.Versions, row.Version)
	}
	if r.Via == ViaAPI && row.Address != "" && len(r.Addresses) < maxLeakAddresses && !slices.Contains(r.Addresses, row.Address) {
		r.Addresses = append(r.Addresses, row.Address)
	}
}

func viaOf(address string) Via {
	switch address {
	case secret.OperatorAddress:
		return ViaOperator
	case secret.RotationAddress:
		return ViaRotation
	default:
		return ViaAPI
	}
}

func (s *leakSearch) finish() {
	for _, r := range s.known {
		slices.Sort(r.Versions)
		if r.Action == "" {
			s.report.Readers = append(s.report.Readers, *r)
		} else {
			s.report.Refused = append(s.report.Refused, *r)
		}
	}
	byLast := func(a, b LeakReader) int {
		return cmp.Or(b.LastAt.Compare(a.LastAt), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Via, b.Via), cmp.Compare(a.Action, b.Action))
	}
	slices.SortFunc(s.report.Readers, byLast)
	slices.SortFunc(s.report.Refused, byLast)
}

// addHolders adds who has what the report is about. That the acknowledgements were changed keeps nobody from the rest.
func (e *Engine) addHolders(ctx context.Context, report *LeakReport) error {
	found, finding, err := e.consumersOf(ctx, report.Path)
	switch {
	case finding != "":
		report.HoldersProblem = finding
		return nil
	case err != nil:
		return err
	}
	for _, c := range found {
		if report.Version == 0 || c.Version == report.Version {
			report.Holders = append(report.Holders, c)
		}
	}
	return nil
}

// addRotation adds the rotation that would replace a leaked version: the one whose run goes on, or else that which counts for caller.
func (e *Engine) addRotation(ctx context.Context, caller secret.Caller, report *LeakReport) error {
	all, err := e.allRotations(ctx)
	if err != nil {
		return err
	}
	var found *standingRotation
	if ran := all.ran(report.Path); len(ran) > 0 && ran[0].underWay() {
		found = ran[0]
	} else if found, err = all.of(caller, report.Path); err != nil {
		if several, ok := errors.AsType[severalRotations](err); ok {
			report.RotationProblem = several.Error()
		}
		return nil
	}
	report.Rotation = new(found.status(e.now()))
	return nil
}
