package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// positionEvery is how often a watcher gets a position though nothing happened that it
// may see: what others do meanwhile must not let its position grow too old.
const positionEvery = time.Minute

// Event is a change as a watcher gets it.
type Event struct {
	Kind changes.Kind
	// Path and Version are as in changes.Change; both are zero for changes.Policy, which
	// says that other rules are about the caller now, or that it is of another environment than
	// when the watch was interrupted: what it may see is to be listed again.
	Path    secret.Path
	Version int64
	At      time.Time
}

// Scope is what a watch is about: the paths below Prefix, and Paths. A zero Prefix
// selects everything, unless there are Paths.
type Scope struct {
	Prefix secret.Prefix
	Paths  []secret.Path // at most MaxWatchedPaths
}

// MaxWatchedPaths bounds Scope.Paths: each is one audit row when the watch begins.
const MaxWatchedPaths = 64

// contains reports whether a change of path is in the scope.
func (s Scope) contains(path secret.Path) bool {
	return s.hasPrefix() && s.Prefix.Contains(path) || slices.Contains(s.Paths, path)
}

func (s Scope) hasPrefix() bool { return len(s.Paths) == 0 || s.Prefix != secret.Prefix{} }

// Parts is of how many parts the scope is: as many audit rows does the beginning of a
// watch write.
func (s Scope) Parts() int { return len(s.names()) }

// names are what the audit log calls the parts of the scope.
func (s Scope) names() []string {
	var names []string
	if s.hasPrefix() {
		names = append(names, s.Prefix.String())
	}
	for _, path := range s.Paths {
		names = append(names, path.String())
	}
	return names
}

// watchReads bounds the connections that all watches of a process together use: each
// change wakes every one of them, and others must not stand behind them at the pool.
const watchReads = 4

// WatchHandler takes events, in no promised order, and the position after them. It
// gets a position without events when the watch begins, and once in a minute in which
// there were none.
type WatchHandler func(ctx context.Context, events []Event, next changes.Position) error

// Watch gives handle the changes in scope of paths that caller may list or read, at
// least once each, from a position on, or from now on when from is "". It ends when
// ctx does, with nil, or with the error of handle. To see everything: begin to watch,
// list when the first position has come, and then take the events as they come.
//
// It is decided about each event when it is delivered, by the policies and the access
// policy of that moment. Of what a caller may not see it learns nothing: no event, no
// number and no position tells of it. The access policy of a deleted path counts, for
// the news that it is gone; that of a destroyed one is gone itself. An access policy
// that does not verify counts for nothing, and one that does not name the caller any
// more is no event. While it cannot be decided, events wait.
//
// The beginning is audited, the events are not.
//
// Errors: secret.ErrPositionLost as FollowFrom, secret.ErrDenied for Coffer's own
// parts, secret.ErrInvalid, and when it begins secret.ErrTampered and
// secret.ErrUnavailable.
func (e *Engine) Watch(ctx context.Context, caller secret.Caller, scope Scope, from changes.Position, handle WatchHandler) error {
	begun, err := e.beginWatch(ctx, caller, scope, from)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	w := &watcher{engine: e, caller: caller, scope: scope, handle: handle, rights: begun.at.Tag(), others: begun.others}
	ctx, w.cancel = context.WithCancel(ctx)
	defer w.cancel()
	follower := e.follower()
	follower.Source = gated{e.store, e.watchGate}
	if err := follower.FollowFrom(ctx, begun.at, w.deliver); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return w.refused
}

// gated is the change feed as watches read it: some at a time.
type gated struct {
	changes.Source
	gate *semaphore.Weighted
}

// ReadChanges implements changes.Source.
func (g gated) ReadChanges(ctx context.Context, at changes.Cursor) (changes.Snapshot, error) {
	if err := g.gate.Acquire(ctx, 1); err != nil {
		return changes.Snapshot{}, err
	}
	defer g.gate.Release(1)
	return g.Source.ReadChanges(ctx, at)
}

// beginning is where a watch begins.
type beginning struct {
	at changes.Cursor
	// others says that the caller's rights are others than those that it knows of there.
	others bool
}

func (e *Engine) beginWatch(ctx context.Context, caller secret.Caller, scope Scope, from changes.Position) (_ beginning, err error) {
	ctx, done := e.begin(ctx, audit.Watch)
	defer func() { done(err) }()
	if len(scope.Paths) > MaxWatchedPaths {
		return beginning{}, fmt.Errorf("%w: %d paths were named; name at most %d, or a prefix", secret.ErrInvalid, len(scope.Paths), MaxWatchedPaths)
	}
	if caller.Kind == secret.KindSystem {
		return beginning{}, secret.ErrDenied
	}
	// The rights are those of before the place: the change of policy between the two must
	// not pass as known.
	heads, err := e.store.Heads(ctx, store.Wanted{Cluster: caller.Cluster})
	if err != nil {
		return beginning{}, err
	}
	rules, rulesErr := e.rules(ctx, caller.Cluster, heads[0].Policies)
	var verdicts []verdict
	for _, name := range scope.names() {
		v := verdict{entry: newEntry(caller, audit.Watch, name, 0, audit.Allowed, ruleEachEvent)}
		if rulesErr != nil {
			v.entry.Decision, v.entry.Rule, v.err = audit.Failed, undecided(rulesErr), rulesErr
		}
		verdicts = append(verdicts, v)
	}
	if err := e.recordAll(ctx, verdicts...); err != nil {
		return beginning{}, err
	}
	rights := e.rightsOf(caller, rules)
	if from != "" {
		at, err := e.openPosition(from)
		return beginning{at, at.Tag() != rights && at.Tag() != changes.Tag{}}, err
	}
	start, err := e.store.StartChanges(ctx, 0)
	return beginning{at: changes.NewCursor(start).WithTag(rights)}, err
}

// rightsOf tells what caller may see by one set of rules, in its environment, from what it
// may by another. It stands in the caller's position, so that a change of it is noticed across a
// restart, and a change of rules about others is no event.
func (e *Engine) rightsOf(caller secret.Caller, rules []policy.Rule) (tag changes.Tag) {
	about, err := json.Marshal(struct {
		Environment string
		Rules       []policy.Rule
	}{caller.Environment, policy.About(rules, caller)})
	if err != nil {
		about = nil // rules were JSON when they were stored
	}
	mac := e.keyring.MAC("vault/rights/2", about)
	copy(tag[:], mac[:])
	return tag
}

// watcher is one Watch.
type watcher struct {
	engine *Engine
	caller secret.Caller
	scope  Scope
	handle WatchHandler

	cancel  context.CancelFunc
	refused error     // of handle; it ends the watch
	last    time.Time // when handle was called last
	// rights are those that the caller knows of. They are zero in a position that
	// Engine.Position gave: then every change of policy is an event, until one was.
	rights changes.Tag
	// others says that there are others by now, though perhaps no change of the policies tells
	// of it: the caller is of another environment or of other groups than it was.
	others bool
}

// deliver is a changes.Handler.
func (w *watcher) deliver(ctx context.Context, batch []changes.Change, next changes.Cursor) error {
	events, rights, err := w.visible(ctx, batch)
	if err != nil {
		return err
	}
	if len(events) > 0 || time.Since(w.last) >= positionEvery {
		position, err := w.engine.sealPosition(next.WithTag(rights))
		if err != nil {
			return err
		}
		if err := w.handle(ctx, events, position); err != nil {
			w.refused = err
			w.cancel()
			return err
		}
		w.last = time.Now()
	}
	w.rights, w.others = rights, false
	return nil
}

// visible are the events that the caller may see, and the rights that it knows of
// after them.
func (w *watcher) visible(ctx context.Context, batch []changes.Change) ([]Event, changes.Tag, error) {
	batch, wanted, policies := w.ours(batch)
	policies = policies || w.others
	if len(wanted) == 0 && !policies {
		return nil, w.rights, nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	if err := w.engine.watchGate.Acquire(ctx, 1); err != nil {
		return nil, w.rights, err
	}
	defer w.engine.watchGate.Release(1)
	heads, err := w.engine.store.Heads(ctx, append(wanted, store.Wanted{Cluster: w.caller.Cluster})...)
	if err != nil {
		return nil, w.rights, err
	}
	rules, err := w.engine.rules(ctx, w.caller.Cluster, heads[0].Policies)
	if err != nil {
		return nil, w.rights, fmt.Errorf("decide about events: %w", err)
	}
	var events []Event
	known := w.rights
	// Rights that changed since the batch was read come with the next one: only then is
	// there an event that they are known by.
	if now := w.engine.rightsOf(w.caller, rules); policies && now != known {
		events = append(events, Event{Kind: changes.Policy, At: w.engine.now()})
		known = now
	}
	byPath := map[string]*store.Secret{}
	for i := range wanted {
		byPath[wanted[i].Path] = heads[i].Secret
	}
	for _, change := range batch {
		if row := byPath[change.Path.String()]; row != nil && w.mayKnow(rules, change.Path, row) {
			events = append(events, Event{change.Kind, change.Path, change.Version, change.CommittedAt})
		}
	}
	return events, known, nil
}

// ours leaves of batch what is about paths in the scope, and names those paths;
// policies says that there was a change of the caller's policies.
func (w *watcher) ours(batch []changes.Change) (kept []changes.Change, wanted []store.Wanted, policies bool) {
	seen := map[secret.Path]bool{}
	for _, change := range batch {
		switch {
		case change.Kind == changes.Policy:
			policies = policies || change.Cluster == "" || change.Cluster == w.caller.Cluster
		case w.scope.contains(change.Path):
			kept = append(kept, change)
			if !seen[change.Path] {
				seen[change.Path] = true
				wanted = append(wanted, store.Wanted{Cluster: w.caller.Cluster, Path: change.Path.String()})
			}
		}
	}
	return kept, wanted, policies
}

// mayKnow decides whether the caller may know that path changed. Access policies only
// ever allow: without one that verifies the policies decide alone.
func (w *watcher) mayKnow(rules []policy.Rule, path secret.Path, row *store.Secret) bool {
	var access *secret.AccessPolicy
	if w.engine.verifySecret(row) {
		access = &secret.AccessPolicy{AllowedServices: row.AllowedServices, AllowedEnvironments: row.AllowedEnvironments}
	}
	for _, capability := range []policy.Capability{policy.List, policy.Read} {
		if policy.Decide(rules, access, w.caller, path, capability, w.engine.now()).Allowed {
			return true
		}
	}
	return false
}
