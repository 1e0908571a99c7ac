package vault

import (
	"context"
	"crypto/hmac"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

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
	// Undefined: it is defined no more. Its run that was under way goes on to its end, as Definition has it.
	Undefined bool
	// Busy: another rotation of the path, such as one of another cluster, has a run that goes on.
	Busy bool
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

// DefinedRotations lists the rotations of the paths below prefix that caller may list, by cluster and name, and then those that are defined
// no more while their run goes on. It needs the list capability on each path; without any the list is empty.
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
	all, err := e.allRotations(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", audit.RotationList, prefix, err)
	}
	v := verdict{entry: newEntry(caller, audit.RotationList, prefix.String(), 0, audit.Allowed, "")}
	var shown []RotationStatus
	var used usedRules
	for _, standing := range all.listed() {
		path, err := secret.ParsePath(standing.definition.Path)
		if err != nil || !prefix.Contains(path) {
			continue
		}
		r := request{caller: caller, action: audit.RotationList, ref: secret.Ref{Path: path}, need: []policy.Capability{policy.List}}
		decision, err := e.decide(ctx, r, store.Head{Policies: heads[0].Policies, Secret: standing.secret})
		if err != nil {
			v.entry.Decision, v.entry.Rule, v.err = audit.Failed, undecided(err), fmt.Errorf("%s %q: %w", audit.RotationList, prefix, err)
			return nil, e.record(ctx, v)
		}
		if decision.Allowed {
			used.add(decision.Rule)
			shown = append(shown, standing.status(e.now()))
		}
	}
	v.entry.Rule = used.String()
	return shown, e.record(ctx, v)
}

func (r *standingRotation) status(now time.Time) RotationStatus {
	s := RotationStatus{Cluster: r.cluster, Definition: r.definition, Undefined: r.undefined, Busy: r.busy(), Newest: r.newest}
	if due, ok := r.due(now); ok {
		s.Next = due
	}
	if since, is := r.overdueSince(now); is {
		s.OverdueSince = since
	}
	return s
}

// ShowRotation tells of the rotation of a path: that of caller's cluster, or the only one, or else the one that ran last, also when it is defined
// no more; and of the last ten runs of the path, whichever rotation's, the newest first. It needs the list or the read capability.
//
// Errors: secret.ErrDenied (also when the path does not exist), secret.ErrInvalid (it has no rotation, and had none), secret.ErrTampered,
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
	all, err := e.allRotations(ctx)
	if err != nil {
		return RotationStatus{}, nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	ran := all.ran(path)
	shown, err := all.of(caller, path)
	if err != nil && len(ran) > 0 {
		shown, err = ran[0], nil
	}
	if err != nil {
		return RotationStatus{}, nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	history, err := e.rotationHistory(ctx, path, append(ran, shown))
	if err != nil {
		return RotationStatus{}, nil, fmt.Errorf("%s %s: %w", r.action, path, err)
	}
	return shown.status(e.now()), history, nil
}

// rotationHistory are the newest runs of a path, of the rotations that had some there, with their steps.
func (e *Engine) rotationHistory(ctx context.Context, path secret.Path, of []*standingRotation) ([]RotationHistory, error) {
	history, err := e.runsOfPath(ctx, path, of)
	if err != nil {
		return nil, err
	}
	ids := make([]store.ID, len(history))
	for i := range history {
		if ids[i], err = uuid.Parse(history[i].Run.ID); err != nil {
			return nil, fmt.Errorf("%w: a run of the rotation of %s", secret.ErrTampered, path)
		}
	}
	// After the runs, so that none of their steps is missing.
	steps, err := e.store.RotationSteps(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range history {
		name := history[i].Run.Definition.Name
		for n := range steps {
			s := &steps[n]
			if s.RunID != ids[i] || s.Number > history[i].Run.Steps {
				continue
			}
			if !hmac.Equal(s.MAC, e.stepMAC(s)) {
				return nil, fmt.Errorf("%w: a step of the rotation %s", secret.ErrTampered, name)
			}
			history[i].Steps = append(history[i].Steps, RotationStep{State: rotation.State(s.State), Detail: s.Detail, At: s.At.UTC()})
		}
		if int64(len(history[i].Steps)) != history[i].Run.Steps {
			return nil, fmt.Errorf("%w: a step of the rotation %s is missing", secret.ErrTampered, name)
		}
	}
	return history, nil
}

// runsOfPath are the newest runs of a path, at most shownRuns, of some rotations, which may be named twice. They are without steps.
func (e *Engine) runsOfPath(ctx context.Context, path secret.Path, of []*standingRotation) ([]RotationHistory, error) {
	var history []RotationHistory
	asked := map[rotationName]bool{}
	for _, r := range of {
		if asked[r.key()] {
			continue
		}
		asked[r.key()] = true
		rows, err := e.store.RotationRuns(ctx, r.cluster, r.definition.Name, shownRuns)
		if err != nil {
			return nil, err
		}
		for i := range rows {
			run, err := e.openRun(&rows[i])
			if err != nil {
				return nil, err
			}
			if run.Definition.Path == path.String() {
				history = append(history, RotationHistory{Run: run})
			}
		}
	}
	slices.SortStableFunc(history, func(a, b RotationHistory) int { return b.Run.PlannedAt.Compare(a.Run.PlannedAt) })
	return history[:min(len(history), shownRuns)], nil
}
