package vault

import (
	"context"
	"crypto/hmac"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// shownRuns is how many runs of a rotation ShowRotation tells of.
const shownRuns = 10

// RotationStatus is how a rotation stands.
type RotationStatus struct {
	Cluster    string
	Definition rotation.Definition
	// Next is when it is due, by its schedule or before its credential ends; zero while it is not to be, also because it is under way.
	Next time.Time
	// OverdueSince is since when it is due by time and was not done, because no run began or the run failed; zero when that is not so.
	OverdueSince time.Time
	// Newest is its newest run; nil when it had none.
	Newest *rotation.Run
}

// RotationHistory is a run and what it went through.
type RotationHistory struct {
	Run   rotation.Run
	Steps []RotationStep
}

// RotationStep is one step of a run.
type RotationStep struct {
	State  rotation.State
	Detail string
	At     time.Time
}

// DefinedRotations lists the rotations of the paths below prefix that caller may list, by cluster and name. It needs the list capability
// on each path; without any the list is empty.
//
// Errors: secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) DefinedRotations(ctx context.Context, caller secret.Caller, prefix secret.Prefix) (_ []RotationStatus, err error) {
	ctx, done := e.begin(ctx, audit.RotationList)
	defer func() { done(err) }()
	// Before the rotations are read: they may be younger than the policies that decide, and are then not shown.
	heads, err := e.store.Heads(ctx, store.Wanted{Cluster: caller.Cluster})
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", audit.RotationList, prefix, err)
	}
	standing, err := e.standingRotations(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", audit.RotationList, prefix, err)
	}
	v := verdict{entry: newEntry(caller, audit.RotationList, prefix.String(), 0, audit.Allowed, "")}
	var shown []RotationStatus
	var used usedRules
	for i := range standing {
		path, err := secret.ParsePath(standing[i].definition.Path)
		if err != nil || !prefix.Contains(path) {
			continue
		}
		r := request{caller: caller, action: audit.RotationList, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.List}}
		decision, err := e.decide(ctx, r, store.Head{Policies: heads[0].Policies, Secret: standing[i].secret})
		if err != nil {
			v.entry.Decision, v.entry.Rule, v.err = audit.Failed, undecided(err), fmt.Errorf("%s %q: %w", audit.RotationList, prefix, err)
			return nil, e.record(ctx, v)
		}
		if decision.Allowed {
			used.add(decision.Rule)
			shown = append(shown, standing[i].status(e.now()))
		}
	}
	v.entry.Rule = used.String()
	return shown, e.record(ctx, v)
}

func (r *standingRotation) status(now time.Time) RotationStatus {
	s := RotationStatus{Cluster: r.cluster, Definition: r.definition, Newest: r.newest}
	if due, ok := r.due(now); ok {
		s.Next = due
	}
	if since, is := r.overdueSince(now); is {
		s.OverdueSince = since
	}
	return s
}

// ShowRotation tells of the rotation of a path and of its last ten runs, the newest first. It needs the list or the read capability.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrInvalid (it has no rotation), secret.ErrTampered,
// secret.ErrUnavailable.
func (e *Engine) ShowRotation(ctx context.Context, caller secret.Caller, path secret.Path) (_ RotationStatus, _ []RotationHistory, err error) {
	ctx, done := e.begin(ctx, audit.RotationShow)
	defer func() { done(err) }()
	r := request{caller: caller, action: audit.RotationShow, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.List, policy.Read}}
	head, err := e.head(ctx, caller, r.ref)
	if err != nil {
		return RotationStatus{}, nil, err
	}
	v := e.judge(ctx, r, head)
	if v.err == nil && !isLive(head.Secret) {
		v = r.deny(ruleMissing)
	}
	if err := e.record(ctx, v); err != nil {
		return RotationStatus{}, nil, err
	}
	standing, err := e.standingRotations(ctx)
	if err != nil {
		return RotationStatus{}, nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	defined := make([]definedRotation, len(standing))
	for i := range standing {
		defined[i] = standing[i].definedRotation
	}
	d, err := definitionOf(caller, path, defined)
	if err != nil {
		return RotationStatus{}, nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	history, err := e.rotationHistory(ctx, d)
	if err != nil {
		return RotationStatus{}, nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	for i := range standing {
		if standing[i].cluster == d.cluster && standing[i].definition.Name == d.definition.Name {
			return standing[i].status(e.now()), history, nil
		}
	}
	return RotationStatus{}, nil, errNoRotation
}

// rotationHistory are the newest runs of a rotation with their steps.
func (e *Engine) rotationHistory(ctx context.Context, d *definedRotation) ([]RotationHistory, error) {
	rows, err := e.store.RotationRuns(ctx, d.cluster, d.definition.Name, shownRuns)
	if err != nil {
		return nil, err
	}
	ids := make([]store.ID, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	// After the runs, so that none of their steps is missing.
	steps, err := e.store.RotationSteps(ctx, ids)
	if err != nil {
		return nil, err
	}
	history := make([]RotationHistory, len(rows))
	for i := range rows {
		if history[i].Run, err = e.openRun(&rows[i]); err != nil {
			return nil, err
		}
		for n := range steps {
			s := &steps[n]
			if s.RunID != rows[i].ID || s.Number > history[i].Run.Steps {
				continue
			}
			if !hmac.Equal(s.MAC, e.stepMAC(s)) {
				return nil, fmt.Errorf("%w: a step of the rotation %s", secret.ErrTampered, d.definition.Name)
			}
			history[i].Steps = append(history[i].Steps, RotationStep{State: rotation.State(s.State), Detail: s.Detail, At: s.At.UTC()})
		}
		if int64(len(history[i].Steps)) != history[i].Run.Steps {
			return nil, fmt.Errorf("%w: a step of the rotation %s is missing", secret.ErrTampered, d.definition.Name)
		}
	}
	return history, nil
}
