package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Explain says whether subject may do capability on path, and why. Callers may ask
// about themselves; about others they need the audit capability on the path.
//
// Once a caller who has it may ask, complete, when not nil, adds to subject what is to be found out about it, at whatever
// cost: who may not ask causes none, and learns nothing by how long it takes.
//
// To who may not audit the path, a refusal is explained without the access policy
// on the secret: whether there is one would tell whether the path exists. A corrupt
// row is to them as none.
//
// Errors: secret.ErrDenied, secret.ErrTampered, secret.ErrUnavailable,
// secret.ErrInvalid.
func (e *Engine) Explain(ctx context.Context, caller, subject secret.Caller, path secret.Path, capability policy.Capability, complete func(context.Context, secret.Caller) secret.Caller) (_ policy.Explanation, err error) {
	ctx, done := e.begin(ctx, audit.Explain)
	defer func() { done(err) }()
	ref := secret.Ref{Path: path}
	head, err := e.head(ctx, caller, ref)
	if err != nil {
		return policy.Explanation{}, err
	}
	r := request{caller: caller, action: audit.Explain, ref: ref, need: []policy.Capability{policy.Audit}}
	permission := e.judge(ctx, r, head)
	audits := permission.err == nil
	if errors.Is(permission.err, secret.ErrDenied) && sameIdentity(caller, subject) {
		if permission.entry.Decision == audit.Failed {
			head.Secret = nil
		} else {
			permission.entry = r.entry(audit.Allowed, "callers may ask about themselves")
		}
		permission.err = nil
		subject = caller // as who they are, not with an environment, a UID or groups they would like
	}
	if err := e.record(ctx, permission); err != nil {
		return policy.Explanation{}, err
	}
	if audits && complete != nil {
		subject = complete(ctx, subject)
	}
	if subject.Cluster != caller.Cluster {
		if head, err = e.head(ctx, subject, ref); err != nil {
			return policy.Explanation{}, err
		}
	}
	about := request{caller: subject, action: audit.Explain, ref: ref, need: []policy.Capability{capability}}
	decision, err := e.decide(ctx, about, head)
	if err == nil && !audits && !decision.Allowed {
		decision, err = e.decide(ctx, about, store.Head{Policies: head.Policies})
	}
	if err != nil {
		return policy.Explanation{}, fmt.Errorf("explain %s: %w", path, err)
	}
	return policy.Explanation{Decision: decision, Subject: subject}, nil
}

func sameIdentity(a, b secret.Caller) bool {
	return a.Kind == b.Kind && a.Cluster == b.Cluster && a.Namespace == b.Namespace && a.Name == b.Name
}
