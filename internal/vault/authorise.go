package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Rules of audit rows that no policy decided.
const (
	ruleNothing       = "nothing allows it"
	ruleMissing       = "the path does not exist"
	ruleNothingBelow  = "nothing below the prefix may be read"
	ruleNothingShown  = "nothing was shown"
	ruleEachEvent     = "each event is decided when it is delivered"
	ruleNoVersion     = "the path has no such version"
	ruleNeverSynced   = "the cluster's policies were never synced"
	ruleSystem        = "a system caller may not do this"
	rulePolicyRead    = "the policies cannot be read"
	rulePolicyReplay  = "the policies are older than those known before"
	rulePolicyMAC     = "the policies fail their integrity check"
	ruleConsumerMAC   = "the acknowledgements of consumers fail their integrity check"
	ruleReaderMAC     = "the record of who reads the path fails its integrity check"
	ruleSecretMAC     = "the path's row fails its integrity check"
	ruleVersionMAC    = "the version's row fails its integrity check"
	ruleVersionAbsent = "the version's row is missing"
	ruleBox           = "the sealed value fails its integrity check"
	ruleConflict      = "the expected version is not the current one"
	ruleDeleted       = "the version is deleted"
	ruleDestroyed     = "the version is destroyed"
	ruleNoPolicy      = "no policy has the name"
	ruleNoLabel       = "no version has the label"
	ruleIsCurrent     = "the version is the current one"
	ruleNotPossible   = "the path is not in a state for it"
	// The row of an idempotency key says which version a write made.
	ruleIdempotencyMAC = "the idempotency key's row fails its integrity check"
	ruleKeyReused      = "the idempotency key was used for another request"
)

// request is one question for authorisation.
type request struct {
	caller secret.Caller
	action audit.Action
	ref    secret.Ref
	// need are the capabilities: one is enough, or all when needAll is set.
	need    []policy.Capability
	needAll bool
}

// verdict is an answer: the audit row it calls for, and the error for the caller,
// nil when allowed.
type verdict struct {
	entry audit.Entry
	err   error
	// until is that of the decision; zero where there was none.
	until time.Time
}

// entry is an audit row about r.
func (r request) entry(decision audit.Decision, rule string) audit.Entry {
	return newEntry(r.caller, r.action, r.ref.Path.String(), r.ref.Version, decision, rule)
}

func newEntry(c secret.Caller, action audit.Action, path string, version int64, decision audit.Decision, rule string) audit.Entry {
	return audit.Entry{
		Cluster: c.Cluster, CallerKind: string(c.Kind), Caller: c.String(), Namespace: c.Namespace, CallerUID: c.UID,
		Environment: c.Environment, Action: action, Path: path, Version: version, Decision: decision, Rule: rule,
		Address: c.Address, RequestID: c.RequestID,
	}
}

// denied is the error of denial. It is one for every reason.
func (r request) denied() error {
	return fmt.Errorf("%s %s: %w", r.action, r.ref.Path, secret.ErrDenied)
}

func (r request) fail(err error, rule string) verdict {
	return verdict{entry: r.entry(audit.Failed, rule), err: fmt.Errorf("%s %s: %w", r.action, r.ref.Path, err)}
}

func (r request) deny(rule string) verdict {
	return verdict{entry: r.entry(audit.Denied, rule), err: r.denied()}
}

// decide asks the policies, and the access policy of the path's live secret. The
// error is of reading the policies.
func (e *Engine) decide(ctx context.Context, r request, head store.Head) (policy.Decision, error) {
	if r.caller.Kind == secret.KindSystem {
		return policy.Decision{Rule: ruleSystem}, nil
	}
	rules, err := e.rules(ctx, r.caller.Cluster, head.Policies)
	if err != nil {
		return policy.Decision{}, err
	}
	access := accessOf(head.Secret)
	var decision policy.Decision
	for _, capability := range r.need {
		decision = policy.Decide(rules, access, r.caller, r.ref.Path, capability, e.now())
		if decision.Allowed != r.needAll {
			break
		}
	}
	return decision, nil
}

// undecided says, for the audit row, why the policies could not be asked.
func undecided(err error) string {
	switch {
	case errors.Is(err, errReplayed):
		return rulePolicyReplay
	case errors.Is(err, secret.ErrTampered):
		return rulePolicyMAC
	case errors.Is(err, errNeverSynced):
		return ruleNeverSynced
	default:
		return rulePolicyRead
	}
}

// accessOf is the policy on a live secret, nil when there is none.
func accessOf(s *store.Secret) *secret.AccessPolicy {
	if !isLive(s) {
		return nil
	}
	return &secret.AccessPolicy{AllowedServices: s.AllowedServices, AllowedEnvironments: s.AllowedEnvironments}
}

func isLive(s *store.Secret) bool { return s != nil && s.DeletedAt == nil }

// judge authorises without regard to whether the path exists, and checks the
// integrity of its row. A caller who would be denied is told so also when the row
// is corrupt; the audit row says what was found.
func (e *Engine) judge(ctx context.Context, r request, head store.Head) verdict {
	decision, err := e.decide(ctx, r, head)
	switch {
	case err != nil:
		return r.fail(err, undecided(err))
	case head.Secret != nil && !e.verifySecret(head.Secret):
		v := r.fail(secret.ErrTampered, ruleSecretMAC)
		if !decision.Allowed {
			v.err = r.denied()
		}
		return v
	case !decision.Allowed:
		v := r.deny(decision.Rule)
		v.until = decision.Until
		return v
	}
	return verdict{entry: r.entry(audit.Allowed, decision.Rule), until: decision.Until}
}

// judgeVersion authorises access to a version that must exist.
func (e *Engine) judgeVersion(ctx context.Context, r request, head store.Head) verdict {
	v := e.judge(ctx, r, head)
	if v.err != nil {
		return v
	}
	if !isLive(head.Secret) {
		return r.deny(ruleMissing)
	}
	version, err := labelled(head.Secret, r.ref)
	if err != nil {
		return r.fail(err, ruleOf(err))
	}
	if err := e.usable(head.Secret, version, head.Version); err != nil {
		return r.at(version).fail(err, ruleOf(err))
	}
	v.entry.Version = version
	return v
}

var (
	errVersionAbsent = fmt.Errorf("%w: a version has no row", secret.ErrTampered)
	errBox           = fmt.Errorf("%w: a sealed value does not open", secret.ErrTampered)
	errVersionMAC    = fmt.Errorf("%w: a version's row was changed", secret.ErrTampered)
	errNoLabel       = fmt.Errorf("%w: none has the label", secret.ErrVersionNotFound)
)

// usable reports why a version of s cannot be read; v is its row, nil when there is
// none.
func (e *Engine) usable(s *store.Secret, version int64, v *store.Version) error {
	switch {
	case version < s.FirstVersion || version > s.LastVersion:
		return secret.ErrVersionNotFound
	case v == nil:
		return errVersionAbsent
	case !e.verifyVersion(v):
		return errVersionMAC
	case v.Deletion:
		return secret.ErrVersionNotFound
	case v.DestroyedAt != nil:
		return secret.ErrVersionDestroyed
	case v.DeletedAt != nil:
		return secret.ErrVersionDeleted
	}
	return nil
}

// ruleOf is what the audit row says of an operation that was allowed and found to be
// impossible.
func ruleOf(err error) string {
	for _, known := range []struct {
		err  error
		rule string
	}{
		{errVersionAbsent, ruleVersionAbsent},
		{errVersionMAC, ruleVersionMAC},
		{errBox, ruleBox},
		{errIdempotencyMAC, ruleIdempotencyMAC},
		{errNoLabel, ruleNoLabel},
		{secret.ErrVersionDeleted, ruleDeleted},
		{secret.ErrVersionDestroyed, ruleDestroyed},
		{secret.ErrVersionIsCurrent, ruleIsCurrent},
		{secret.ErrKeyReused, ruleKeyReused},
		{secret.ErrVersionNotFound, ruleNoVersion},
		{secret.ErrConflict, ruleConflict},
	} {
		if errors.Is(err, known.err) {
			return known.rule
		}
	}
	return ruleSecretMAC
}

// record makes the verdict's audit row durable and returns the verdict's error, or
// secret.ErrUnavailable when the row cannot be written: then nothing may leave. A
// caller that went away does not keep its row from being written.
func (e *Engine) record(ctx context.Context, v verdict) error { return e.recordAll(ctx, v) }

// recordAll is record for the verdicts of one operation, in one commit. Its error is the
// first that a verdict has.
func (e *Engine) recordAll(ctx context.Context, verdicts ...verdict) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()
	now := e.now()
	entries := make([]audit.Entry, len(verdicts))
	for i, v := range verdicts {
		v.entry.At = now
		if v.entry.Rule == "" && v.entry.Decision == audit.Denied {
			v.entry.Rule = ruleNothing
		}
		entries[i] = v.entry
	}
	if err := e.committer.Commit(ctx, entries...); err != nil {
		if !errors.Is(err, secret.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", secret.ErrUnavailable, err)
		}
		return fmt.Errorf("%s %s: %w", entries[0].Action, entries[0].Path, err)
	}
	var first error
	for i, v := range verdicts {
		if errors.Is(v.err, secret.ErrTampered) {
			e.logger.ErrorContext(ctx, "integrity check failed", "action", v.entry.Action, "path", v.entry.Path, "finding", entries[i].Rule)
		}
		if first == nil {
			first = v.err
		}
	}
	return first
}
