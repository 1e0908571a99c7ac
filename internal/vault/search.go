package vault

import (
	"context"
	"fmt"
	"strings"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

const (
	// auditBatch is how many entries are read at a time: some may not be shown.
	auditBatch = 1000
	// maxAuditBatches bounds one search by a caller who may see little of much.
	maxAuditBatches = 20
	// maxCallerBytes is generous for user names of any identity provider.
	maxCallerBytes = 1 << 10
	// anyChild is the last segment of a path that stands for any child of a prefix.
	anyChild = "_"
)

// Audit searches the audit log, newest entries first, and shows those about paths
// on which caller has the audit capability. An entry about a prefix, or about no
// path, is shown to who may audit any child of it. A caller to whom nothing can be
// shown is denied.
//
// next is q.Before of the next page, and 0 when the log was searched to its end. A
// page may hold fewer entries than q.Limit, or none, and still have a next one: one
// call looks through 20,000 entries at most, whether they can be shown or not.
//
// Errors: secret.ErrDenied, secret.ErrTampered, secret.ErrUnavailable,
// secret.ErrInvalid.
func (e *Engine) Audit(ctx context.Context, caller secret.Caller, q audit.Query) (found []audit.Entry, next int64, err error) {
	ctx, done := e.begin(ctx, audit.Audit)
	defer func() { done(err) }()
	if err := validateQuery(q); err != nil {
		return nil, 0, err
	}
	q = q.Normal()
	heads, err := e.store.Heads(ctx, store.Wanted{Cluster: caller.Cluster})
	if err != nil {
		return nil, 0, fmt.Errorf("audit: %w", err)
	}
	reader := &auditReader{engine: e, caller: caller, head: store.Head{Policies: heads[0].Policies}, decided: map[string]policy.Decision{}}
	whole, err := reader.may(ctx, q.PathPrefix)
	if err != nil {
		return nil, 0, e.record(ctx, reader.request(secret.Path{}).fail(err, undecided(err)))
	}
	found, next, err = reader.search(ctx, q)
	if err != nil {
		return nil, 0, fmt.Errorf("audit: %w", err)
	}
	v := verdict{entry: newEntry(caller, audit.Audit, q.PathPrefix, 0, audit.Allowed, reader.rule(q.PathPrefix))}
	// Only a search of everything can tell that nothing can be shown.
	if !whole && len(found) == 0 && next == 0 && q.Before == 0 {
		v.entry.Decision, v.entry.Rule = audit.Denied, ruleNothing
		v.err = fmt.Errorf("audit %q: %w", q.PathPrefix, secret.ErrDenied)
	}
	if err := e.record(ctx, v); err != nil {
		return nil, 0, err
	}
	return found, next, nil
}

func validateQuery(q audit.Query) error {
	if err := validateText("the path prefix", q.PathPrefix, secret.MaxPathBytes); err != nil {
		return err
	}
	if err := validateText("the caller", q.Caller, maxCallerBytes); err != nil {
		return err
	}
	if err := validateText("the action", string(q.Action), maxCallerBytes); err != nil {
		return err
	}
	return validateText("the decision", string(q.Decision), maxCallerBytes)
}

// auditReader is one search.
type auditReader struct {
	engine  *Engine
	caller  secret.Caller
	head    store.Head
	decided map[string]policy.Decision // by Entry.Path
	used    usedRules
}

// show reports whether the caller may be shown what is about path, and notes the rule.
func (a *auditReader) show(ctx context.Context, path string) (bool, error) {
	may, err := a.may(ctx, path)
	if may {
		a.used.add(a.decided[path].Rule)
	}
	return may, err
}

// rule is what the audit row says: the rules that allowed what is shown or, when that is nothing, the one that would have allowed all below
// prefix.
func (a *auditReader) rule(prefix string) string {
	if whole := a.decided[prefix]; len(a.used) == 0 && whole.Allowed {
		return whole.Rule
	}
	return a.used.String()
}

func (a *auditReader) request(path secret.Path) request {
	return request{caller: a.caller, action: audit.Audit, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.Audit}}
}

// search returns what may be shown, and where to go on; 0 at the end of the log.
func (a *auditReader) search(ctx context.Context, q audit.Query) (shown []audit.Entry, next int64, err error) {
	limit := q.Limit
	q.Limit = auditBatch
	for range maxAuditBatches {
		batch, err := a.engine.store.Audit(ctx, q)
		if err != nil {
			return nil, 0, err
		}
		for _, entry := range batch {
			may, err := a.show(ctx, entry.Path)
			if err != nil {
				return nil, 0, err
			}
			q.Before = entry.ID
			if may {
				shown = append(shown, entry)
			}
			if len(shown) == limit {
				return shown, q.Before, nil
			}
		}
		if len(batch) < auditBatch {
			return shown, 0, nil
		}
	}
	return shown, q.Before, nil
}

// may reports whether the caller may audit path, or any child of a prefix.
func (a *auditReader) may(ctx context.Context, path string) (bool, error) {
	if decision, ok := a.decided[path]; ok {
		return decision.Allowed, nil
	}
	exact := path
	if path == "" || strings.HasSuffix(path, "/") {
		exact += anyChild
	}
	parsed, err := secret.ParsePath(exact)
	if err != nil {
		return false, nil // no path, so no policy matches it
	}
	decision, err := a.engine.decide(ctx, a.request(parsed), a.head)
	if err != nil {
		return false, err
	}
	a.decided[path] = decision
	return decision.Allowed, nil
}
