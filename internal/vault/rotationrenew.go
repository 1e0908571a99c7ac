package vault

import (
	"context"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

const (
	// renewAgain is how long after a run a credential is to be renewed again that has not been, since the run failed.
	renewAgain = time.Hour
	// askEndAgain is when is asked again for an end that could not be known.
	askEndAgain = 10 * time.Minute
)

// RotatedCredential is the current credential of a rotation.
type RotatedCredential struct {
	Cluster    string
	Definition rotation.Definition
	Version    int64
}

// Ends says when a credential is to be renewed because it ends by itself, as a certificate does; ends is false when it does not. It is
// asked once for each version that becomes current, and an error has it asked again some minutes later. Nil: nothing ends by itself.
type Ends func(ctx context.Context, c RotatedCredential) (at time.Time, ends bool, err error)

// rotationName identifies a rotation.
type rotationName struct{ cluster, name string }

// renewal is what is known of the end of a rotation's current credential.
type renewal struct {
	version int64
	method  string
	// at is when it is to be renewed; zero when it does not end. again is when to ask anew; zero when never.
	at, again time.Time
}

func (r *standingRotation) key() rotationName { return rotationName{r.cluster, r.definition.Name} }

// learnEnds asks for the ends of the current credentials that are not known, and takes note of them for standing and for the engine.
func (e *Engine) learnEnds(ctx context.Context, standing []standingRotation, of Ends) {
	if of == nil {
		return
	}
	now := e.now()
	learnt := map[rotationName]renewal{}
	for i := range standing {
		r := &standing[i]
		if r.version == nil {
			continue
		}
		known, ok := e.renewalOf(r)
		if !ok || !known.again.IsZero() && !known.again.After(now) {
			known = e.askEnd(ctx, r, of)
		}
		learnt[r.key()], r.renewAt = known, known.at
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.renewals = learnt // what is no more defined is forgotten
}

// renewalOf is what the engine knows of r.
func (e *Engine) renewalOf(r *standingRotation) (renewal, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	known, ok := e.renewals[r.key()]
	return known, ok && r.version != nil && known.version == r.version.Version && known.method == methodText(&r.definition)
}

func (e *Engine) askEnd(ctx context.Context, r *standingRotation, of Ends) renewal {
	learnt := renewal{version: r.version.Version, method: methodText(&r.definition)}
	at, ends, err := of(ctx, RotatedCredential{Cluster: r.cluster, Definition: r.definition, Version: r.version.Version})
	switch {
	case err != nil:
		learnt.again = e.now().Add(askEndAgain)
		if ctx.Err() == nil {
			e.logger.WarnContext(ctx, "it is not known when a rotated credential ends; asking again in some minutes",
				"rotation", r.definition.Name, "path", r.definition.Path, "version", learnt.version, "error", err)
		}
	case ends:
		learnt.at = at
	}
	return learnt
}

// methodText tells methods apart.
func methodText(d *rotation.Definition) string {
	return d.Method.Kind + " " + string(d.Method.Settings)
}

// renewal is when the current credential is to be renewed before its end, whatever the schedule says; false when it does not end.
func (r *standingRotation) renewal(now time.Time) (time.Time, bool) {
	if r.renewAt.IsZero() {
		return time.Time{}, false
	}
	if r.newest == nil || r.newest.PlannedAt.Before(r.renewAt) || r.newest.PlannedAt.After(now) { // after now: a clock was wrong
		return r.renewAt, true
	}
	return r.newest.PlannedAt.Add(renewAgain), true
}
