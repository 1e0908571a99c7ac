package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// allowed is what Resolve decided about one reference, and by what.
type allowed struct {
	request  request
	verdict  verdict
	metadata secret.Metadata
	version  *store.Version
	at       time.Time // no later than the decision
}

// allowedFor is how long a decision of Resolve is good for. Who lost a right meanwhile has
// had it when it was asked for; a caller that writes down what it read has to look at
// changes anyway.
const allowedFor = 2 * time.Second

// ReadAllowed is Read of a reference that Resolve has just allowed: it reads the version
// that Resolve described, by the same decision, without asking what that was made by again.
// A decision that is older than two seconds, or about somebody else or something else, counts
// for nothing: then it is Read.
//
// Errors are those of Read.
func (e *Engine) ReadAllowed(ctx context.Context, caller secret.Caller, ref secret.Ref, decision secret.Allowed) (secret.Secret, error) {
	a, ok := decision.(*allowed)
	if !ok || !a.isFor(caller, ref) || !a.holds(e.now()) {
		return e.Read(ctx, caller, ref)
	}
	found, err := e.readAllowed(ctx, a)
	if errors.Is(err, secret.ErrTampered) {
		return e.Read(ctx, caller, ref) // which finds out whether it is gone since
	}
	return found, err
}

func (e *Engine) readAllowed(ctx context.Context, a *allowed) (_ secret.Secret, err error) {
	ctx, done := e.begin(ctx, audit.Read)
	defer func() { done(err) }()
	v := a.verdict
	v.entry.Action = audit.Read
	value, recorded, err := e.openRecorded(ctx, a.request.ref.Path, a.version, v)
	switch {
	case recorded != nil:
		return secret.Secret{}, recorded
	case err != nil:
		return secret.Secret{}, fmt.Errorf("read %s: %w", a.request.ref.Path, err)
	}
	return secret.Secret{Metadata: a.metadata, Value: value}, nil
}

// isFor reports whether the decision was about this question of this caller, in the same
// request.
func (a *allowed) isFor(caller secret.Caller, ref secret.Ref) bool {
	mine := a.request.caller
	return a.request.ref == ref && mine.Kind == caller.Kind && mine.Cluster == caller.Cluster && mine.Namespace == caller.Namespace &&
		mine.Name == caller.Name && mine.UID == caller.UID && slices.Equal(mine.Groups, caller.Groups) &&
		mine.Environment == caller.Environment && mine.Address == caller.Address && mine.RequestID == caller.RequestID
}

// holds reports whether the decision is still good at a moment.
func (a *allowed) holds(now time.Time) bool {
	until := a.verdict.until
	return now.Sub(a.at) <= allowedFor && (until.IsZero() || now.Before(until))
}
