package vault

import (
	"context"
	"fmt"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// StandingRotations tells how the rotations of a cluster stand, by name, for the statuses of the objects that define them. Each is shown as
// far as its own service account may know, so that to define a rotation tells nothing of a path. It holds no value, and is asked every second while
// a rotation is under way: it is not audited.
//
// Errors: secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) StandingRotations(ctx context.Context, cluster string) ([]rotation.Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	// Before the rotations are read: see DefinedRotations.
	heads, err := e.store.Heads(ctx, store.Wanted{Cluster: cluster})
	if err != nil {
		return nil, fmt.Errorf("tell how the rotations of cluster %q stand: %w", cluster, err)
	}
	all, err := e.allRotations(ctx)
	if err != nil {
		return nil, fmt.Errorf("tell how the rotations of cluster %q stand: %w", cluster, err)
	}
	var standings []rotation.Standing
	for i := range all.defined {
		r := &all.defined[i]
		if r.cluster != cluster {
			continue
		}
		allowed, err := e.allowsRotation(ctx, r, heads[0])
		if err != nil {
			return nil, fmt.Errorf("tell how the rotation %s stands: %w", r.definition.Name, err)
		}
		standings = append(standings, standingOf(r.status(e.now()), allowed))
	}
	return standings, nil
}

func standingOf(status RotationStatus, allowed bool) rotation.Standing {
	s := rotation.Standing{Name: status.Definition.Name, Denied: !allowed}
	if allowed {
		s.Next, s.OverdueSince, s.Busy = status.Next, status.OverdueSince, status.Busy
	}
	// A run that has made a version was allowed to.
	if status.Newest != nil && (allowed || status.Newest.To != 0) {
		s.Newest = status.Newest
	}
	return s
}

// allowsRotation reports whether the service account of a rotation may do what that takes.
func (e *Engine) allowsRotation(ctx context.Context, r *standingRotation, policies store.Head) (bool, error) {
	if !isLive(r.secret) {
		return false, nil
	}
	path, err := secret.ParsePath(r.definition.Path)
	if err != nil {
		return false, nil // what is no path is nobody's
	}
	need := request{
		caller: r.definition.As.Caller(r.cluster, ""), action: audit.RotationList, ref: secret.Ref{Path: path},
		need: []policy.Capability{policy.Read, policy.Rotate}, needAll: true,
	}
	decision, err := e.decide(ctx, need, store.Head{Policies: policies.Policies, Secret: r.secret})
	return decision.Allowed, err
}
