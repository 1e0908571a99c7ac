package vault

import (
	"context"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Limits of List.
const (
	DefaultListLimit = 100
	MaxListLimit     = 1000
	// listBatch is how many rows are read at a time: some may not be shown.
	listBatch = 500
)

// List describes the paths below prefix that caller may list, in byte order,
// beginning after the path after, at most limit (DefaultListLimit when 0). There
// may be more when limit were returned; pass the last path to go on. It needs the
// list capability on each path; without any the list is empty.
//
// Errors: secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) List(ctx context.Context, caller secret.Caller, prefix secret.Prefix, after secret.Path, limit int) (_ []secret.Metadata, err error) {
	ctx, done := e.begin(ctx, audit.List)
	defer func() { done(err) }()
	if limit <= 0 {
		limit = DefaultListLimit
	}
	limit = min(limit, MaxListLimit)
	var found []secret.Metadata
	filter := store.Filter{Prefix: prefix.String(), After: after.String(), Limit: listBatch}
	err = e.walk(ctx, caller, audit.List, filter, func(m secret.Metadata) bool {
		found = append(found, m)
		return len(found) < limit
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Overdue lists the paths below prefix that caller may list and whose current
// version is older than their RotateAfterDays, in byte order.
//
// Errors are those of List.
func (e *Engine) Overdue(ctx context.Context, caller secret.Caller, prefix secret.Prefix) (_ []secret.Overdue, err error) {
	ctx, done := e.begin(ctx, audit.Overdue)
	defer func() { done(err) }()
	now := e.now()
	var found []secret.Overdue
	filter := store.Filter{Prefix: prefix.String(), Scheduled: true, Limit: listBatch}
	err = e.walk(ctx, caller, audit.Overdue, filter, func(m secret.Metadata) bool {
		if overdue, ok := overdueAt(m, now); ok {
			found = append(found, overdue)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Rotations lists the paths below prefix that caller may list and that have a reminder,
// overdue or not, in byte order. It is audited as Overdue is.
//
// Errors are those of List.
func (e *Engine) Rotations(ctx context.Context, caller secret.Caller, prefix secret.Prefix) (_ []secret.Rotation, err error) {
	ctx, done := e.begin(ctx, audit.Overdue)
	defer func() { done(err) }()
	now := e.now()
	var found []secret.Rotation
	filter := store.Filter{Prefix: prefix.String(), Scheduled: true, Limit: listBatch}
	err = e.walk(ctx, caller, audit.Overdue, filter, func(m secret.Metadata) bool {
		due := dueAt(m)
		found = append(found, secret.Rotation{
			Path: m.Path, Version: m.Version, RotateAfterDays: m.RotateAfterDays, RotatedAt: m.CreatedAt, DueAt: due, Overdue: now.After(due),
		})
		return true
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

const day = 24 * time.Hour

// dueAt is when the version of m is to be replaced.
func dueAt(m secret.Metadata) time.Time {
	return m.CreatedAt.Add(time.Duration(m.RotateAfterDays) * day)
}

// overdueAt reports whether the version of m is older than its rotation interval.
func overdueAt(m secret.Metadata, now time.Time) (secret.Overdue, bool) {
	due := dueAt(m)
	if m.RotateAfterDays <= 0 || !now.After(due) {
		return secret.Overdue{}, false
	}
	return secret.Overdue{
		Path: m.Path, Version: m.Version, RotateAfterDays: m.RotateAfterDays, RotatedAt: m.CreatedAt,
		DaysOverdue: int(now.Sub(due) / day),
	}, true
}

// walk gives show each path that the caller may list, until it returns false, and then audits the list, with the rules that
// allowed what was shown: nothing may leave before.
func (e *Engine) walk(ctx context.Context, caller secret.Caller, action audit.Action, filter store.Filter, show func(secret.Metadata) bool) error {
	heads, err := e.store.Heads(ctx, store.Wanted{Cluster: caller.Cluster})
	if err != nil {
		return fmt.Errorf("%s %q: %w", action, filter.Prefix, err)
	}
	policies := store.Head{Policies: heads[0].Policies}
	v := verdict{entry: newEntry(caller, action, filter.Prefix, 0, audit.Allowed, "")}
	if caller.Kind != secret.KindSystem {
		if _, err := e.rules(ctx, caller.Cluster, policies.Policies); err != nil {
			// Whether there is a path to decide about must not show.
			v.entry.Decision, v.entry.Rule = audit.Failed, undecided(err)
			v.err = fmt.Errorf("%s %q: %w", action, filter.Prefix, err)
			return e.record(ctx, v)
		}
	}
	used, err := e.walkItems(ctx, caller, action, policies, filter, show)
	if err != nil {
		return err
	}
	v.entry.Rule = used.String()
	return e.record(ctx, v)
}

// walkItems returns the rules that allowed what show was given.
func (e *Engine) walkItems(
	ctx context.Context, caller secret.Caller, action audit.Action, policies store.Head, filter store.Filter, show func(secret.Metadata) bool,
) (used usedRules, err error) {
	for {
		items, err := e.store.Items(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", action, filter.Prefix, err)
		}
		for _, item := range items {
			m, rule, err := e.listed(ctx, caller, action, policies, item)
			if err != nil {
				return nil, err
			}
			if rule != "" {
				used.add(rule)
				if !show(m) {
					return used, nil
				}
			}
			filter.After = item.Secret.Path
		}
		if len(items) < filter.Limit {
			return used, nil
		}
	}
}

// listed decides whether caller may list item, and then verifies what it says. A
// path that may not be listed is passed over whatever its state and without a look
// at it, so that a list tells nothing of it and costs little; its rule is empty.
func (e *Engine) listed(ctx context.Context, caller secret.Caller, action audit.Action, policies store.Head, item store.Item) (_ secret.Metadata, rule string, err error) {
	path, err := secret.ParsePath(item.Secret.Path)
	if err != nil {
		return secret.Metadata{}, "", nil // not written by an engine: no policy matches it
	}
	r := request{caller: caller, action: action, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.List}}
	head := store.Head{Policies: policies.Policies, Secret: &item.Secret, Version: item.Version}
	decision, err := e.decide(ctx, r, head)
	switch {
	case err != nil:
		return secret.Metadata{}, "", e.record(ctx, r.fail(err, undecided(err)))
	case !decision.Allowed:
		return secret.Metadata{}, "", nil
	}
	if v := e.judgeVersion(ctx, r, head); v.err != nil {
		return secret.Metadata{}, "", e.record(ctx, v)
	}
	return metadata(path, head.Secret, head.Version), decision.Rule, nil
}
