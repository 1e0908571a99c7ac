package rotation

import (
	"errors"
	"fmt"
	"time"
)

// State is how far a run is: each says what is done.
type State string

// The states, in their order. Those of the second group follow a failure.
const (
	// Planned: it is due, or somebody asked for it, and nothing is done.
	Planned State = "planned"
	// Created: the new credential is sealed in the vault as the pending version, and no system accepts it.
	Created State = "created"
	// Set: the system accepts both.
	Set State = "set"
	// Tested: the new one was used.
	Tested State = "tested"
	// Current: the new version is the one that a read gets.
	Current State = "current"
	// Propagating: consumers are waited for.
	Propagating State = "propagating"
	// Retiring: every consumer has moved, or the owner goes on without them.
	Retiring State = "retiring"
	// Done: the former credential is accepted no more.
	Done State = "done"

	// Failed: the run does not go on, and both credentials are as they were then.
	Failed State = "failed"
	// Withdrawing: the former version is current again, and consumers that have the new one are waited for.
	Withdrawing State = "withdrawing"
	// Revoking: nobody has the new one any more.
	Revoking State = "revoking"
	// RolledBack: the new credential is accepted no more, and its version is destroyed.
	RolledBack State = "rolledBack"
	// Abandoned: somebody else changed the path, or the run was given up while it could not go on. Both credentials may
	// still be accepted.
	Abandoned State = "abandoned"
)

// States are all of them, in their order.
func States() []State {
	return []State{Planned, Created, Set, Tested, Current, Propagating, Retiring, Done, Failed, Withdrawing, Revoking, RolledBack, Abandoned}
}

// Ended reports whether nothing follows.
func (s State) Ended() bool { return s == Done || s == RolledBack || s == Abandoned }

// Detail says, for the history of the run, what its state means for it.
func (r *Run) Detail() string {
	switch r.State {
	case Planned:
		if r.Cause == BySchedule {
			return "due at " + r.DueAt.UTC().Format(time.RFC3339)
		}
		return "asked for by " + r.By
	case Created, Current:
		return fmt.Sprintf("version %d", r.To)
	case Set:
		if r.NoOverlap {
			return "the former credential is accepted no more"
		}
		return ""
	case Propagating, Retiring, Withdrawing:
		return fmt.Sprintf("%d of %d consumers", r.Moved, r.Total)
	case Failed, RolledBack, Abandoned:
		return r.Reason
	default:
		return ""
	}
}

// stoppable reports whether the former credential is untouched in s, so that the run can be rolled back.
func (s State) stoppable() bool {
	switch s {
	case Planned, Created, Set, Tested, Current, Propagating:
		return true
	default:
		return false
	}
}

// Cause is why there is a run.
type Cause string

// The causes.
const (
	BySchedule Cause = "schedule"
	ByHand     Cause = "hand"
	// ByEvent: something happened that asked for it, such as an annotation of its VaultRotation.
	ByEvent Cause = "event"
)

// Request asks for a run now, whatever the schedule says.
type Request struct {
	// RevokeOld is for a credential that is leaked: consumers are not waited for.
	RevokeOld bool
	// Event is what asked for it, in words that are shown to people and hold no value; empty when it is asked for by hand.
	Event string
}

// Run is the run that caller asks for, due at now.
func (r Request) Run(caller string, now time.Time) Run {
	run := Run{Cause: ByHand, By: caller, RevokeOld: r.RevokeOld, DueAt: now}
	if r.Event != "" {
		run.Cause, run.By = ByEvent, r.Event
	}
	return run
}

// Run is one rotation. It holds no value. The engine stores it, with a number for each time it was stored.
type Run struct {
	ID      string `json:"id"`
	Cluster string `json:"cluster"`
	// Definition is as it was when the run was planned: what becomes of it meanwhile changes no run.
	Definition Definition `json:"definition"`
	Cause      Cause      `json:"cause"`
	// By is who or, by an event, what asked for it; empty by schedule.
	By string `json:"by,omitempty"`
	// RevokeOld: the credential is leaked. Consumers are not waited for.
	RevokeOld bool `json:"revokeOld,omitempty"`
	// DueAt is when it was to begin, and PlannedAt when it was found so.
	DueAt     time.Time `json:"dueAt"`
	PlannedAt time.Time `json:"plannedAt"`

	// Steps counts what is in its history.
	Steps int64 `json:"steps"`
	State State `json:"state"`
	// EnteredAt is when the state began.
	EnteredAt time.Time `json:"enteredAt"`
	// From is the version that was current, and To the new one; 0 until they are known.
	From int64 `json:"from,omitempty"`
	To   int64 `json:"to,omitempty"`
	// NoOverlap: the former credential is accepted no more from Set on, and again after Revoke.
	NoOverlap bool `json:"noOverlap,omitempty"`
	// TurnedAt is when To became current or, after a failure, From again; nil before.
	TurnedAt *time.Time `json:"turnedAt,omitempty"`
	// Total and Moved count consumers, at the last look, and how many have the version that is current.
	Total int `json:"total,omitempty"`
	Moved int `json:"moved,omitempty"`
	// SettledAt is since when all of them have it; nil while some have not.
	SettledAt *time.Time `json:"settledAt,omitempty"`
	// Asked: consumers were waited for as long as the definition says, and somebody is to approve or to cancel.
	Asked bool `json:"asked,omitempty"`
	// Attempts counts what failed in this state, and Problem is what went wrong last. It never holds a value.
	Attempts int    `json:"attempts,omitempty"`
	Problem  string `json:"problem,omitempty"`
	// FailedIn is the state in which it failed, and Reason why; empty when it did not.
	FailedIn State  `json:"failedIn,omitempty"`
	Reason   string `json:"reason,omitempty"`

	// Approved and Stop are what somebody wants of the run and what is not done yet; Forced is a Stop that is a rollback whatever the
	// definition says.
	Approved bool   `json:"approved,omitempty"`
	Stop     string `json:"stop,omitempty"`
	Forced   bool   `json:"forced,omitempty"`
}

// ErrNotNow is wrapped by errors about something that a run cannot do in its state.
var ErrNotNow = errors.New("the rotation is not in a state for it")

// Held reports that the run failed and waits for somebody.
func (r *Run) Held() bool {
	return r.State == Failed && r.Definition.Failure == Hold && !r.Forced
}

// NeedsSomebody reports whether the run goes on only when somebody approves or, unless it is withdrawing, cancels it.
func (r *Run) NeedsSomebody() bool {
	return !r.State.Ended() && !r.Approved && r.Stop == "" && (r.Held() || r.Asked)
}

// WaitsFor says, for people, whom or what the run waits for; empty when for nothing.
func (r *Run) WaitsFor() string {
	switch {
	case r.State.Ended():
		return ""
	case r.Held() && !r.Approved:
		return "it failed and is held; approve it to go on, or cancel it to roll back"
	case r.Asked && !r.Approved:
		text := fmt.Sprintf("%d of %d consumers have the version that is current; approve to go on without the others", r.Moved, r.Total)
		if r.State.stoppable() {
			text += ", or cancel"
		}
		return text
	case r.Attempts > 0:
		return "it failed, and is tried again"
	case r.State == Propagating || r.State == Withdrawing:
		return fmt.Sprintf("%d of %d consumers have the version that is current", r.Moved, r.Total)
	}
	return ""
}

// Approve lets a run that waits go on: without the consumers that have not moved, or, when it was held after a failure, with what
// failed.
//
// Errors: ErrNotNow.
func (r Run) Approve() (Run, error) {
	if r.State != Current && r.State != Propagating && r.State != Withdrawing && !r.Held() {
		return r, fmt.Errorf("%w: it is %s and waits for nobody's approval", ErrNotNow, r.State)
	}
	r.Approved = true
	return r, nil
}

// Cancel has the run rolled back. One that cannot go on, whether it is being rolled back or retires the former credential, is given
// up: both credentials may then be accepted.
//
// Errors: ErrNotNow.
func (r Run) Cancel(by string, now time.Time) (Run, error) {
	switch {
	case r.State.Ended():
		return r, fmt.Errorf("%w: it is %s", ErrNotNow, r.State)
	case r.State.stoppable(), r.Held():
		r.Stop, r.Forced, r.Approved = "cancelled by "+by, true, false
		return r, nil
	case r.Attempts > 0:
		return r.abandon("given up by "+by+", after: "+r.Problem, now), nil
	case r.State == Retiring:
		return r, fmt.Errorf("%w: the former credential is being retired, so there is nothing to go back to", ErrNotNow)
	}
	return r, fmt.Errorf("%w: it is being rolled back already", ErrNotNow)
}

// Fail stops a run whose consumers do not come up with the new credential. What becomes of it says the definition.
//
// Errors: ErrNotNow.
func (r Run) Fail(reason string) (Run, error) {
	if r.State != Current && r.State != Propagating {
		return r, fmt.Errorf("%w: it is %s", ErrNotNow, r.State)
	}
	if r.Stop != "" { // many consumers say so of one run
		return r, fmt.Errorf("%w: it is stopped already", ErrNotNow)
	}
	r.Stop = reason
	return r, nil
}

// Leaked has the run, which replaces a version that is leaked, wait for nobody.
//
// Errors: ErrNotNow.
func (r Run) Leaked() (Run, error) {
	path := r.Definition.Path
	if r.Held() {
		return r, fmt.Errorf("%w: it failed and is held; coffer rotation cancel %s, and when it is rolled back, coffer leak %s", ErrNotNow, path, path)
	}
	if r.Stop != "" || !r.State.stoppable() && r.State != Retiring {
		return r, fmt.Errorf("%w: it goes back to the former credential; coffer rotation show %s says when that is done, and then coffer leak %s", ErrNotNow, path, path)
	}
	r.RevokeOld, r.Asked = true, false
	return r, nil
}

// enter is r in another state.
func (r Run) enter(s State, now time.Time) Run {
	r.State, r.EnteredAt, r.Attempts, r.Problem = s, now, 0, ""
	r.Approved, r.Asked = false, false
	return r
}

// fail is r that does not go on.
func (r Run) fail(why string, now time.Time) Run {
	r.FailedIn, r.Reason, r.Stop = r.State, why, ""
	return r.enter(Failed, now)
}

// abandon is r that ended without doing anything about the two credentials.
func (r Run) abandon(why string, now time.Time) Run {
	if r.FailedIn == "" {
		r.FailedIn = r.State
	}
	r.Reason, r.Stop = why, ""
	return r.enter(Abandoned, now)
}
