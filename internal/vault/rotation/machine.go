package rotation

import (
	"errors"
	"fmt"
	"time"
)

// Action is what brings a run on.
type Action string

// The actions.
const (
	// Nothing: the run ended, or waits for somebody.
	Nothing Action = "nothing"
	// Create makes the new credential, and stores it as the pending version.
	Create Action = "create"
	// SetNext has the system accept it.
	SetNext Action = "set"
	// Test uses it.
	Test Action = "test"
	// Promote makes it current.
	Promote Action = "promote"
	// Count asks how many consumers have it.
	Count Action = "count"
	// Finish has the system accept the former one no more.
	Finish Action = "finish"
	// GiveUp takes note that somebody stopped the run.
	GiveUp Action = "give up"
	// Resume takes note that somebody approved of a run that is held.
	Resume Action = "resume"
	// Demote makes the former version current again, if it is not.
	Demote Action = "demote"
	// CountBack asks how many consumers have the former one.
	CountBack Action = "count back"
	// Revoke has the system accept the new one no more, and the former one as before, and destroys the new version.
	Revoke Action = "revoke"
)

// ErrOvertaken says that the path has another current version than the run left there.
var ErrOvertaken = errors.New("somebody else changed the path's current version")

// Outcome is how an action went.
type Outcome struct {
	// Err is nil when it was done. Its text is shown to people, so it holds no value.
	Err error
	// Permanent: it would fail again.
	Permanent bool
	// From and To are the versions of Create.
	From, To int64
	// NoOverlap is of Create: Set will end the former credential at once.
	NoOverlap bool
	// Total and Moved are of Count and CountBack.
	Total, Moved int
	// Reverted is of Count: the former version is current again, by somebody else.
	Reverted bool
}

// Pace is how often is looked and tried.
type Pace struct {
	// Poll is the time between two looks at consumers.
	Poll time.Duration
	// Retry is the time after the first failure; it doubles up to Longest.
	Retry, Longest time.Duration
}

// UsualPace is for people and their systems.
func UsualPace() Pace {
	return Pace{Poll: 5 * time.Second, Retry: 2 * time.Second, Longest: 5 * time.Minute}
}

// Next is the action that brings the run on.
func (r *Run) Next() Action {
	if r.Stop != "" && r.State.stoppable() {
		return GiveUp
	}
	switch r.State {
	case Planned:
		return Create
	case Created:
		return SetNext
	case Set:
		return Test
	case Tested:
		return Promote
	case Current, Propagating:
		return Count
	case Retiring:
		return Finish
	case Failed:
		return r.nextAfterFailure()
	case Withdrawing:
		return CountBack
	case Revoking:
		return Revoke
	default: // it ended
		return Nothing
	}
}

func (r *Run) nextAfterFailure() Action {
	switch {
	case !r.Held():
		return Demote
	case r.Approved:
		return Resume
	}
	return Nothing
}

// After is the run after its Next action went as o says, and when to go on; a run that waits for somebody goes on when they
// said something.
func (r Run) After(o Outcome, now time.Time, pace Pace) (_ Run, wait time.Duration) {
	action := r.Next()
	if errors.Is(o.Err, ErrOvertaken) {
		return r.abandon(o.Err.Error(), now), 0
	}
	if o.Err != nil {
		return r.afterFailure(o, now, pace)
	}
	switch action {
	case Create:
		r.From, r.To, r.NoOverlap = o.From, o.To, o.NoOverlap
		return r.enter(Created, now), 0
	case SetNext:
		return r.enter(Set, now), 0
	case Test:
		return r.enter(Tested, now), 0
	case Promote:
		r.TurnedAt = &now
		return r.enter(Current, now), 0
	case Count:
		return r.afterCount(o, now, pace)
	case Finish:
		return r.enter(Done, now), 0
	case GiveUp:
		return r.fail(r.Stop, now), 0
	case Resume:
		in := r.FailedIn
		r.FailedIn, r.Reason = "", ""
		return r.enter(in, now), 0
	case Demote:
		return r.afterDemotion(now), 0
	case CountBack:
		return r.afterCountBack(o, now, pace)
	case Revoke:
		return r.enter(RolledBack, now), 0
	default:
		return r, pace.Longest
	}
}

// afterFailure tries again, or gives up. Beyond the point from which there is no other way, it never gives up by itself.
func (r Run) afterFailure(o Outcome, now time.Time, pace Pace) (Run, time.Duration) {
	r.Attempts++
	if r.State.stoppable() && (o.Permanent || r.Attempts >= r.Definition.attempts()) && r.Next() != Count {
		return r.fail(fmt.Sprintf("%s: %v", r.Next(), o.Err), now), 0
	}
	r.Problem = o.Err.Error()
	wait := pace.Retry
	for range min(r.Attempts-1, 30) {
		wait = min(2*wait, pace.Longest)
	}
	return r, wait
}

// afterDemotion: nobody has seen a version that was never current. Where the former credential is not accepted, who goes back to it waits
// for the new one to be revoked, and not the other way round.
func (r Run) afterDemotion(now time.Time) Run {
	r.Stop = ""
	switch {
	case r.To == 0:
		return r.enter(RolledBack, now)
	case r.TurnedAt == nil, r.NoOverlap:
		return r.enter(Revoking, now)
	}
	r.TurnedAt, r.SettledAt = &now, nil
	return r.enter(Withdrawing, now)
}

func (r Run) afterCount(o Outcome, now time.Time, pace Pace) (Run, time.Duration) {
	if o.Reverted {
		r = r.fail("somebody rolled the path back", now)
		r.Forced = true
		return r, 0
	}
	if r.RevokeOld {
		r.Total, r.Moved = o.Total, o.Moved
		return r.enter(Retiring, now), 0
	}
	r, over, wait := r.counted(o, now, pace)
	if over {
		return r.enter(Retiring, now), 0
	}
	if r.State == Current {
		asked := r.Asked
		r = r.enter(Propagating, now)
		r.Asked = asked
	}
	r.Attempts, r.Problem = 0, ""
	return r, wait
}

func (r Run) afterCountBack(o Outcome, now time.Time, pace Pace) (Run, time.Duration) {
	r, over, wait := r.counted(o, now, pace)
	if over {
		return r.enter(Revoking, now), 0
	}
	r.Attempts, r.Problem = 0, ""
	return r, wait
}

// counted takes note of a look at the consumers, and says whether there is an end of waiting for them.
func (r Run) counted(o Outcome, now time.Time, pace Pace) (_ Run, over bool, wait time.Duration) {
	// A time after now is of a clock that was wrong.
	turned := earlier(*r.TurnedAt, now)
	r.TurnedAt, r.Total, r.Moved = &turned, o.Total, o.Moved
	wait = pace.Poll
	if o.Moved >= o.Total {
		settled := now
		if r.SettledAt != nil {
			settled = earlier(*r.SettledAt, now)
		}
		r.SettledAt, r.Asked = &settled, false
		left := settled.Add(r.Definition.grace()).Sub(now)
		return r, left <= 0 || r.Approved, max(min(wait, left), 0)
	}
	r.SettledAt = nil
	waited := now.Sub(turned) >= r.Definition.wait()
	r.Asked = waited && r.Definition.Consumed.Then != Proceed
	return r, r.Approved || waited && !r.Asked, wait
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
