package rotation

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

var (
	start     = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	pace      = Pace{Poll: 5 * time.Second, Retry: 2 * time.Second, Longest: time.Minute}
	errSilent = errors.New("it does not answer")
)

// minute is start and so many minutes.
func minute(n int) *time.Time { return new(start.Add(time.Duration(n) * time.Minute)) }

// in is a run that is in a state since start.
func in(s State, change ...func(*Run)) Run {
	r := Run{State: s, EnteredAt: start, From: 3, To: 4}
	for _, c := range change {
		c(&r)
	}
	return r
}

func turned(r *Run)   { r.TurnedAt = minute(0) }
func hold(r *Run)     { r.Definition.Failure = Hold }
func proceed(r *Run)  { r.Definition.Consumed.Then = Proceed }
func approved(r *Run) { r.Approved = true }
func stopped(r *Run)  { r.Stop = "why" }
func forced(r *Run)   { r.Forced = true }
func settled(n int) func(*Run) {
	return func(r *Run) { r.SettledAt = minute(n) }
}
func attempts(n int) func(*Run) { return func(r *Run) { r.Attempts = n } }
func failedIn(s State) func(*Run) {
	return func(r *Run) { r.FailedIn, r.Reason = s, "why" }
}

// TestMachine is every action, how it may go, and what comes of it ten minutes, or so many, after the state began.
func TestMachine(t *testing.T) {
	type step struct {
		run     Run
		minutes int
		outcome Outcome
		action  Action
		state   State
		wait    time.Duration
		check   func(Run) bool // more to look at
	}
	failed := Outcome{Err: errSilent}
	for name, s := range map[string]step{
		"one credential at a time":          {run: in(Planned), outcome: Outcome{From: 3, To: 4, NoOverlap: true}, action: Create, state: Created, check: func(r Run) bool { return r.NoOverlap }},
		"back to one at a time":             {run: in(Failed, turned, func(r *Run) { r.NoOverlap = true }), action: Demote, state: Revoking},
		"create":                            {run: in(Planned, func(r *Run) { r.From, r.To = 0, 0 }), outcome: Outcome{From: 3, To: 4}, action: Create, state: Created, check: func(r Run) bool { return r.From == 3 && r.To == 4 }},
		"set":                               {run: in(Created), action: SetNext, state: Set},
		"test":                              {run: in(Set), action: Test, state: Tested},
		"promote":                           {run: in(Tested), action: Promote, state: Current, check: func(r Run) bool { return r.TurnedAt.Equal(*minute(10)) }},
		"first count":                       {run: in(Current, turned), outcome: Outcome{Total: 3, Moved: 1}, action: Count, state: Propagating, wait: pace.Poll, check: func(r Run) bool { return r.Total == 3 && r.Moved == 1 && !r.Asked }},
		"count":                             {run: in(Propagating, turned), outcome: Outcome{Total: 3, Moved: 2}, action: Count, state: Propagating, wait: pace.Poll},
		"all have moved":                    {run: in(Propagating, turned), outcome: Outcome{Total: 3, Moved: 3}, action: Count, state: Propagating, wait: pace.Poll, check: func(r Run) bool { return r.SettledAt.Equal(*minute(10)) }},
		"and one more came":                 {run: in(Propagating, turned, settled(9)), outcome: Outcome{Total: 4, Moved: 3}, action: Count, state: Propagating, wait: pace.Poll, check: func(r Run) bool { return r.SettledAt == nil }},
		"the grace is over":                 {run: in(Propagating, turned, settled(5)), outcome: Outcome{Total: 3, Moved: 3}, action: Count, state: Retiring},
		"the grace nearly is":               {run: in(Propagating, turned, func(r *Run) { r.SettledAt = new(minute(5).Add(time.Second)) }), outcome: Outcome{Total: 3, Moved: 3}, action: Count, state: Propagating, wait: time.Second},
		"nobody reads it":                   {run: in(Current, turned, settled(5)), action: Count, state: Retiring},
		"without a grace":                   {run: in(Current, turned, func(r *Run) { r.Definition.Consumed.Grace = new(model.Duration(0)) }), outcome: Outcome{Total: 3, Moved: 3}, action: Count, state: Retiring},
		"settled by a clock that was wrong": {run: in(Propagating, turned, settled(600)), outcome: Outcome{Total: 3, Moved: 3}, action: Count, state: Propagating, wait: pace.Poll, check: func(r Run) bool { return r.SettledAt.Equal(*minute(10)) }},
		"waited, and asks":                  {run: in(Propagating, turned), minutes: 24 * 60, outcome: Outcome{Total: 3, Moved: 2}, action: Count, state: Propagating, wait: pace.Poll, check: func(r Run) bool { return r.Asked }},
		"waited, and proceeds":              {run: in(Propagating, turned, proceed), minutes: 24 * 60, outcome: Outcome{Total: 3, Moved: 2}, action: Count, state: Retiring},
		"proceeds not yet":                  {run: in(Propagating, turned, proceed), minutes: 24*60 - 1, outcome: Outcome{Total: 3, Moved: 2}, action: Count, state: Propagating, wait: pace.Poll},
		"approved":                          {run: in(Propagating, turned, approved), outcome: Outcome{Total: 3, Moved: 2}, action: Count, state: Retiring, check: func(r Run) bool { return !r.Approved }},
		"leaked":                            {run: in(Current, turned, func(r *Run) { r.RevokeOld = true }), outcome: Outcome{Total: 3}, action: Count, state: Retiring},
		"cannot count":                      {run: in(Propagating, turned, attempts(100)), outcome: failed, action: Count, state: Propagating, wait: pace.Longest},
		"rolled back by hand":               {run: in(Propagating, turned, hold), outcome: Outcome{Reverted: true}, action: Count, state: Failed, check: func(r Run) bool { return !r.Held() }},
		"finish":                            {run: in(Retiring, turned), action: Finish, state: Done},

		"a failure is tried again":   {run: in(Created), outcome: failed, action: SetNext, state: Created, wait: pace.Retry, check: func(r Run) bool { return r.Attempts == 1 && r.Problem == errSilent.Error() }},
		"and later each time":        {run: in(Created, attempts(3)), outcome: failed, action: SetNext, state: Created, wait: 8 * pace.Retry},
		"and then no more":           {run: in(Created, attempts(DefaultAttempts-1)), outcome: failed, action: SetNext, state: Failed, check: func(r Run) bool { return r.FailedIn == Created && r.Reason == "set: it does not answer" }},
		"one that stays":             {run: in(Set), outcome: Outcome{Err: errSilent, Permanent: true}, action: Test, state: Failed},
		"finish is tried for ever":   {run: in(Retiring, attempts(1000)), outcome: failed, action: Finish, state: Retiring, wait: pace.Longest},
		"revoke is tried for ever":   {run: in(Revoking, attempts(1000), failedIn(Set)), outcome: failed, action: Revoke, state: Revoking, wait: pace.Longest},
		"stopped":                    {run: in(Set, stopped), action: GiveUp, state: Failed, check: func(r Run) bool { return r.Reason == "why" && r.FailedIn == Set && r.Stop == "" }},
		"stopped too late":           {run: in(Retiring, stopped), action: Finish, state: Done},
		"failed":                     {run: in(Failed, failedIn(Set)), action: Demote, state: Revoking},
		"failed before anything":     {run: in(Failed, failedIn(Planned), func(r *Run) { r.From, r.To = 0, 0 }), action: Demote, state: RolledBack},
		"failed when it was current": {run: in(Failed, failedIn(Current), turned, settled(1)), action: Demote, state: Withdrawing, check: func(r Run) bool { return r.TurnedAt.Equal(*minute(10)) && r.SettledAt == nil }},
		"failed and held":            {run: in(Failed, failedIn(Set), hold), action: Nothing, state: Failed, wait: pace.Longest, check: func(r Run) bool { return r.Held() }},
		"held and approved":          {run: in(Failed, failedIn(Set), hold, approved), action: Resume, state: Set, check: func(r Run) bool { return r.FailedIn == "" && !r.Approved }},
		"held and cancelled":         {run: in(Failed, failedIn(Set), hold, forced), action: Demote, state: Revoking},
		"some have it still":         {run: in(Withdrawing, failedIn(Current), turned), outcome: Outcome{Total: 3, Moved: 2}, action: CountBack, state: Withdrawing, wait: pace.Poll},
		"nobody has it any more":     {run: in(Withdrawing, failedIn(Current), turned, settled(5)), outcome: Outcome{Total: 3, Moved: 3}, action: CountBack, state: Revoking},
		"some keep it":               {run: in(Withdrawing, failedIn(Current), turned), minutes: 24 * 60, outcome: Outcome{Total: 3, Moved: 2}, action: CountBack, state: Withdrawing, wait: pace.Poll, check: func(r Run) bool { return r.Asked }},
		"revoke":                     {run: in(Revoking, failedIn(Set)), action: Revoke, state: RolledBack, check: func(r Run) bool { return r.Reason == "why" }},
		"overtaken":                  {run: in(Tested), outcome: Outcome{Err: ErrOvertaken}, action: Promote, state: Abandoned, check: func(r Run) bool { return r.FailedIn == Tested && r.Reason == ErrOvertaken.Error() }},
		"nothing follows":            {run: in(Done), action: Nothing, state: Done, wait: pace.Longest},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.run.Next(); got != s.action {
				t.Errorf("next is %s, want %s", got, s.action)
			}
			minutes := 10
			if s.minutes != 0 {
				minutes = s.minutes
			}
			after, wait := s.run.After(s.outcome, *minute(minutes), pace)
			if after.State != s.state || wait != s.wait {
				t.Errorf("%s in %s, want %s in %s", after.State, wait, s.state, s.wait)
			}
			if s.check != nil && !s.check(after) {
				t.Errorf("it is %+v", after)
			}
			if since := map[bool]*time.Time{true: minute(0), false: minute(minutes)}[after.State == s.run.State]; !after.EnteredAt.Equal(*since) {
				t.Errorf("it began at %v, want %v", after.EnteredAt, since)
			}
		})
	}
}

// TestOnlyWhatHelpsIsNamed to somebody whom a run waits for.
func TestOnlyWhatHelpsIsNamed(t *testing.T) {
	asked := func(r *Run) { r.Asked, r.Moved, r.Total = true, 1, 3 }
	for _, r := range []Run{in(Failed, hold), in(Current, asked), in(Propagating, asked), in(Withdrawing, asked)} {
		if !r.NeedsSomebody() {
			t.Errorf("%s: nobody is asked", r.State)
		}
		said := r.WaitsFor()
		_, approve := r.Approve()
		_, cancel := r.Cancel("user:alice", start)
		if got := strings.Contains(said, "approve"); got != (approve == nil) || strings.Contains(said, "cancel") != (cancel == nil) {
			t.Errorf("%s: it says %q; approve: %v, cancel: %v", r.State, said, approve, cancel)
		}
	}
}

// TestLeaked: a run that still goes forth, or retires the former credential, waits for nobody; of another is said what to do.
func TestLeaked(t *testing.T) {
	of := func(r *Run) { r.Definition.Path = "a/b" }
	for _, s := range States() {
		r, err := in(s, of).Leaked()
		if forth := s.stoppable() || s == Retiring; forth != (err == nil) || forth != r.RevokeOld {
			t.Errorf("%s: %+v, %v", s, r, err)
		}
		if err != nil && (!errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), "coffer leak a/b")) {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, r := range []Run{in(Failed, of, hold), in(Propagating, of, stopped)} {
		if _, err := r.Leaked(); !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), "coffer leak a/b") {
			t.Errorf("%s: %v", r.State, err)
		}
	}
}

// TestWhatPeopleMay in each state: approve, cancel and say that it failed.
func TestWhatPeopleMay(t *testing.T) {
	const by = "user:alice"
	type may struct{ Approve, Cancel, CancelInTrouble, Fail bool }
	want := map[State]may{
		Planned: {Cancel: true, CancelInTrouble: true}, Created: {Cancel: true, CancelInTrouble: true}, Set: {Cancel: true, CancelInTrouble: true}, Tested: {Cancel: true, CancelInTrouble: true},
		Current: {true, true, true, true}, Propagating: {true, true, true, true},
		Retiring: {CancelInTrouble: true}, Done: {}, Failed: {CancelInTrouble: true},
		Withdrawing: {Approve: true, CancelInTrouble: true}, Revoking: {CancelInTrouble: true}, RolledBack: {}, Abandoned: {},
	}
	got := map[State]may{}
	for _, s := range States() {
		var m may
		_, err := in(s).Approve()
		m.Approve = err == nil
		_, cancelErr := in(s).Cancel(by, start)
		m.Cancel = cancelErr == nil
		_, err = in(s, attempts(1)).Cancel(by, start)
		m.CancelInTrouble = err == nil
		_, err = in(s).Fail("why")
		m.Fail = err == nil
		if cancelErr != nil && !errors.Is(cancelErr, ErrNotNow) {
			t.Errorf("%s: %v", s, cancelErr)
		}
		got[s] = m
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if r, err := in(Failed, hold).Approve(); err != nil || !r.Approved {
		t.Errorf("held: %+v, %v", r, err)
	}
	r, err := in(Failed, hold, approved).Cancel(by, start)
	if err != nil || r.Next() != Demote {
		t.Errorf("held: %+v, %v", r, err)
	}
	if r, _ = in(Retiring, attempts(2)).Cancel(by, start); r.State != Abandoned {
		t.Errorf("in trouble: %+v", r)
	}
}
