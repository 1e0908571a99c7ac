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

// Resolve is Check for refs, and finds besides what lies below each of prefixes: the
// paths that caller may read, with their current versions, in byte order. It opens
// nothing. A path below a prefix that the caller may not read is not there, whatever
// its state; a prefix below which nothing may be read is a refusal, the same whether
// there is anything or not. Only a refusal is audited: the first one ends the call,
// and its error names the path or the prefix.
//
// At most limit paths of one prefix are returned. There are more when limit were.
//
// Of a refusal the moment is given besides at which it may end by itself.
//
// refs and prefixes are read as of one moment, but for what a prefix holds beyond its
// first 500 paths.
//
// Errors are those of Check.
func (e *Engine) Resolve(ctx context.Context, caller secret.Caller, refs []secret.Ref, prefixes []secret.Prefix, limit int) (_ secret.Resolution, err error) {
	ctx, done := e.begin(ctx, audit.Check)
	defer func() { done(err) }()
	wanted, err := wantedOfAll(caller, refs)
	if err != nil {
		return secret.Resolution{}, err
	}
	if len(prefixes) == 0 {
		heads, err := e.headsOf(ctx, wanted)
		if err != nil {
			return secret.Resolution{}, fmt.Errorf("check: %w", err)
		}
		return e.checked(ctx, caller, refs, heads)
	}
	return e.resolveBelow(ctx, caller, refs, wanted, prefixes, limit)
}

// resolveBelow is Resolve with at least one prefix. wanted are the rows of refs.
func (e *Engine) resolveBelow(ctx context.Context, caller secret.Caller, refs []secret.Ref, wanted []store.Wanted,
	prefixes []secret.Prefix, limit int,
) (secret.Resolution, error) {
	// The row of no path tells the policies where nothing else would.
	wanted = append(wanted, store.Wanted{})
	names := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		if names[i] = prefix.String(); names[i] == "" {
			return secret.Resolution{}, fmt.Errorf("%w: an empty prefix, which would be the whole vault", secret.ErrInvalid)
		}
	}
	heads, pages, err := e.store.HeadsBelow(ctx, caller.Cluster, wanted, names, listBatch)
	if err != nil {
		return secret.Resolution{}, fmt.Errorf("check: %w", err)
	}
	found, err := e.checked(ctx, caller, refs, heads)
	if err != nil {
		return found, err
	}
	found.Below = make([][]secret.Metadata, len(prefixes))
	for i, prefix := range prefixes {
		b := beneath{caller: caller, prefix: prefix, policies: heads[len(refs)].Policies, limit: limit}
		found.Below[i], err = e.below(ctx, &b, pages[i])
		if err != nil {
			return secret.Resolution{Until: b.until}, err
		}
		found.Until = secret.Earlier(found.Until, b.until)
	}
	return found, nil
}

func wantedOfAll(caller secret.Caller, refs []secret.Ref) ([]store.Wanted, error) {
	wanted := make([]store.Wanted, len(refs))
	for i, ref := range refs {
		var err error
		if wanted[i], err = wantedOf(caller, ref); err != nil {
			return nil, fmt.Errorf("reference %d: %w", i+1, err)
		}
	}
	return wanted, nil
}

// beneath is the question what caller may read below a prefix, at most limit paths.
type beneath struct {
	caller   secret.Caller
	prefix   secret.Prefix
	policies *store.PolicySetHead
	limit    int
	// until is when the answer may be another by time alone, as far as it goes: a path
	// may come as well as go.
	until time.Time
}

// below decides about the paths of page, which HeadsBelow gave, and of those behind
// it.
func (e *Engine) below(ctx context.Context, b *beneath, page []store.Head) ([]secret.Metadata, error) {
	entry := newEntry(b.caller, audit.Check, b.prefix.String(), 0, audit.Denied, ruleNothingBelow)
	if b.caller.Kind != secret.KindSystem {
		if _, err := e.rules(ctx, b.caller.Cluster, b.policies); err != nil {
			// Whether there is a path to decide about must not show.
			entry.Decision, entry.Rule = audit.Failed, undecided(err)
			return nil, e.record(ctx, verdict{entry: entry, err: fmt.Errorf("%s %s: %w", audit.Check, b.prefix, err)})
		}
	}
	var found []secret.Metadata
	for {
		for _, head := range page {
			m, ok, err := e.readable(ctx, b, head)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, m)
			}
			if len(found) == b.limit {
				return found, nil
			}
		}
		if len(page) < listBatch {
			break
		}
		filter := store.Filter{Prefix: b.prefix.String(), After: page[len(page)-1].Secret.Path, Limit: listBatch}
		items, err := e.store.Items(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", audit.Check, b.prefix, err)
		}
		page = page[:0]
		for i := range items {
			page = append(page, store.Head{Secret: &items[i].Secret, Version: items[i].Version})
		}
	}
	if len(found) == 0 {
		return nil, e.record(ctx, verdict{entry: entry, err: fmt.Errorf("%s %s: %w", audit.Check, b.prefix, secret.ErrDenied)})
	}
	return found, nil
}

// readable decides whether the caller may read the current version of a path, and
// then verifies what it says. A path without a current version has nothing to read.
func (e *Engine) readable(ctx context.Context, b *beneath, head store.Head) (secret.Metadata, bool, error) {
	path, err := secret.ParsePath(head.Secret.Path)
	if err != nil {
		return secret.Metadata{}, false, nil // not written by an engine: no policy matches it
	}
	r := request{caller: b.caller, action: audit.Check, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Read}}
	head.Policies = b.policies
	decision, err := e.decide(ctx, r, head)
	b.until = secret.Earlier(b.until, decision.Until)
	switch {
	case err != nil:
		return secret.Metadata{}, false, e.record(ctx, r.fail(err, undecided(err)))
	case !decision.Allowed:
		return secret.Metadata{}, false, nil
	}
	v := e.judgeVersion(ctx, r, head)
	if errors.Is(v.err, secret.ErrVersionNotFound) || errors.Is(v.err, secret.ErrDenied) {
		return secret.Metadata{}, false, nil
	}
	if v.err != nil {
		return secret.Metadata{}, false, e.record(ctx, v)
	}
	return metadata(path, head.Secret, head.Version), true, nil
}
