package notification

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// TestOfRun: what is told of each change of a run.
func TestOfRun(t *testing.T) {
	held := rotation.Definition{Spec: rotation.Spec{Failure: rotation.Hold}}
	in := func(s rotation.State) rotation.Run { return rotation.Run{ID: "r", Steps: 3, State: s} }
	with := func(r rotation.Run, change func(*rotation.Run)) rotation.Run { change(&r); return r }
	waits := func(r *rotation.Run) { r.Asked, r.Moved, r.Total = true, 1, 2 }
	fails := func(r *rotation.Run) { waits(r); r.Definition, r.Stop = held, "two pods crash" }
	leaked := func(r *rotation.Run) { r.RevokeOld = true }
	tried := func(n int) func(*rotation.Run) {
		return func(r *rotation.Run) { r.Attempts, r.Problem = n, "it is down" }
	}
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	waiting := fmt.Sprintf("r-3-waiting-%d", now.UnixMicro())
	for _, c := range []struct {
		name          string
		before, after rotation.Run
		want          string
	}{
		{"new", rotation.Run{}, in(rotation.Planned), "r-3-started"},
		{"new, since it is leaked", rotation.Run{}, with(in(rotation.Planned), leaked), "r-3-leaked r-3-started"},
		{"leaked meanwhile", in(rotation.Propagating), with(in(rotation.Propagating), leaked), "r-3-leaked"},
		{"leaked, and done", with(in(rotation.Retiring), leaked), with(in(rotation.Done), leaked), "r-3-done"},
		{"created", in(rotation.Planned), in(rotation.Created), ""},
		{"set", in(rotation.Created), in(rotation.Set), ""},
		{"tested", in(rotation.Set), in(rotation.Tested), ""},
		{"current", in(rotation.Tested), in(rotation.Current), "r-3-current"},
		{"current again, after it was held", in(rotation.Failed), in(rotation.Current), ""},
		{"propagating", in(rotation.Current), in(rotation.Propagating), ""},
		{"one more consumer", in(rotation.Propagating), in(rotation.Propagating), ""},
		{"asked", in(rotation.Propagating), with(in(rotation.Propagating), waits), waiting},
		{"asked still", with(in(rotation.Propagating), waits), with(in(rotation.Propagating), waits), ""},
		{"approved", with(in(rotation.Propagating), waits), with(in(rotation.Propagating), func(r *rotation.Run) { waits(r); r.Approved = true }), ""},
		{"retiring", in(rotation.Propagating), in(rotation.Retiring), ""},
		{"not revoked at first", in(rotation.Retiring), with(in(rotation.Retiring), tried(7)), ""},
		{"not revoked", with(in(rotation.Retiring), tried(7)), with(in(rotation.Retiring), tried(8)), "r-3-notrevoked"},
		{"not revoked still", with(in(rotation.Retiring), tried(8)), with(in(rotation.Retiring), tried(9)), ""},
		{"the new one is not revoked", with(in(rotation.Revoking), tried(7)), with(in(rotation.Revoking), tried(8)), "r-3-notrevoked"},
		{"tried before it is revoked", with(in(rotation.Set), tried(7)), with(in(rotation.Set), tried(8)), ""},
		{"done", in(rotation.Retiring), in(rotation.Done), "r-3-done"},
		{"failed", in(rotation.Set), in(rotation.Failed), "r-3-failed"},
		{"failed and held", in(rotation.Set), with(in(rotation.Failed), func(r *rotation.Run) { r.Definition = held }), "r-3-failed " + waiting},
		{"asked, and fails", with(in(rotation.Propagating), waits), with(in(rotation.Propagating), fails), ""},
		{"asked, fails, held", with(in(rotation.Propagating), fails), with(in(rotation.Failed), func(r *rotation.Run) { r.Definition = held }), "r-3-failed " + waiting},
		{"withdrawing", in(rotation.Failed), in(rotation.Withdrawing), ""},
		{"rolled back", in(rotation.Revoking), in(rotation.RolledBack), "r-3-rolledback"},
		{"abandoned", in(rotation.Retiring), in(rotation.Abandoned), "r-3-abandoned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, e := range OfRun(&c.before, &c.after, "user:bob", now) {
				got = append(got, e.ID)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWaitingAgainIsAnotherEvent: a consumer comes up, another one goes, and the run is in the same state all the time.
func TestWaitingAgainIsAnotherEvent(t *testing.T) {
	waits, goesOn := rotation.Run{ID: "r", Steps: 3, State: rotation.Propagating, Asked: true}, rotation.Run{ID: "r", Steps: 3, State: rotation.Propagating}
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	first, again := OfRun(&goesOn, &waits, "", now), OfRun(&goesOn, &waits, "", now.Add(time.Minute))
	if len(first) != 1 || len(again) != 1 || first[0].ID == again[0].ID {
		t.Errorf("told are %+v and %+v", first, again)
	}
}

// TestEveryStateIsToldOrNot: a state that is new here needs a decision.
func TestEveryStateIsToldOrNot(t *testing.T) {
	silent := map[rotation.State]bool{
		rotation.Created: true, rotation.Set: true, rotation.Tested: true, rotation.Propagating: true, rotation.Retiring: true, rotation.Withdrawing: true, rotation.Revoking: true,
	}
	for _, s := range rotation.States() {
		if _, told := entered(rotation.Tested, s); told == silent[s] {
			t.Errorf("%s: told is %v", s, told)
		}
	}
}

func TestEventSaysHowTheRunIs(t *testing.T) {
	now := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	run := rotation.Run{
		ID: "r", Steps: 9, Cluster: "eu", State: rotation.RolledBack, From: 7, To: 8, Moved: 2, Total: 3, Reason: "two pods crash", By: "user:alice",
		Definition: rotation.Definition{Name: "payments/database", Spec: rotation.Spec{Path: "production/payments/database"}},
	}
	got := OfRun(&rotation.Run{State: rotation.Revoking}, &run, "", now)
	want := []Event{{
		ID: "r-9-rolledback", Type: RotationRolledBack, Time: now, Cluster: "eu", Path: "production/payments/database", Rotation: "payments/database", Run: "r",
		State: "rolledBack", FromVersion: 7, ToVersion: 8, Consumers: &Consumers{Moved: 2, Total: 3}, Reason: "two pods crash", By: "user:alice",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSummaries: every type has a sentence, that names the path.
func TestSummaries(t *testing.T) {
	for _, kind := range Types() {
		e := Event{Type: kind, Path: "production/payments/database"}
		if s := e.Summary(); !strings.Contains(s, e.Path) || !strings.HasSuffix(s, ".") {
			t.Errorf("%s: %q", kind, s)
		}
	}
}

func TestSummaryCountsDays(t *testing.T) {
	for days, want := range map[int]string{0: "a/b is overdue: ", 1: "a/b is overdue by a day: ", 2: "a/b is overdue by 2 days: "} {
		if s := (&Event{Type: SecretOverdue, Path: "a/b", DaysOverdue: days}).Summary(); !strings.HasPrefix(s, want) {
			t.Errorf("%d: %q", days, s)
		}
	}
}

// TestOverdueIDs: the same reminder has the same id, and no other has.
func TestOverdueIDs(t *testing.T) {
	one, two := uuid.New(), uuid.New()
	due := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	o := Overdue{Path: "a/b", Version: 3, DueAt: due}
	first := o.Event(one, 1, due.Add(50*time.Hour))
	if first.DaysOverdue != 2 || first.FromVersion != 3 || strings.Contains(first.ID, ".") {
		t.Errorf("%+v", first)
	}
	later, other := o, o
	later.DueAt, other.Path = due.Add(time.Hour), "a/c"
	ids := map[string]bool{first.ID: true}
	for _, e := range []Event{o.Event(two, 1, due), o.Event(one, 2, due), later.Event(one, 1, due), other.Event(one, 1, due)} {
		ids[e.ID] = true
	}
	if len(ids) != 5 {
		t.Errorf("%d ids of 5 reminders", len(ids))
	}
	if again := o.Event(one, 1, due.Add(51*time.Hour)); again.ID != first.ID {
		t.Error("the same reminder has two ids")
	}
}

// TestLeakedIDs: the same version has the same id, and no other has.
func TestLeakedIDs(t *testing.T) {
	one, two := uuid.New(), uuid.New()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	l := Leaked{Path: "a/b", Version: 3, By: "user:alice"}
	ids := map[string]bool{}
	for _, e := range []Event{
		l.Event(one, now), Leaked{Path: "a/b", Version: 3, By: "user:bob"}.Event(one, now.Add(time.Hour)),
		l.Event(two, now), Leaked{Path: "a/b", Version: 4}.Event(one, now), Leaked{Path: "a/c", Version: 3}.Event(one, now),
	} {
		ids[e.ID] = true
	}
	if len(ids) != 4 {
		t.Errorf("%d ids of 4 leaks, one of which is told twice", len(ids))
	}
}

// TestSummaryOfWhatWaits names no command that would be refused.
func TestSummaryOfWhatWaits(t *testing.T) {
	for state, want := range map[rotation.State]string{
		rotation.Propagating: "The rotation of a/b waits for somebody: coffer rotation approve a/b, or coffer rotation cancel a/b.",
		rotation.Withdrawing: "The rotation of a/b waits for somebody: coffer rotation approve a/b.",
	} {
		e := Event{Type: RotationWaiting, Path: "a/b", State: string(state)}
		if diff := cmp.Diff(want, e.Summary()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", state, diff)
		}
	}
}

// TestSummaryOfALeak: nothing is retired where nothing is rotated.
func TestSummaryOfALeak(t *testing.T) {
	alone := Leaked{Path: "a/b", Version: 3, By: "user:alice"}.Event(uuid.New(), time.Now())
	want := "Version 3 of a/b is declared leaked by user:alice, and no rotation replaces it: revoke it at its own system. coffer leak a/b --version 3 --dry-run says who had it."
	if diff := cmp.Diff(want, alone.Summary()); diff != "" {
		t.Error(diff)
	}
	run := Event{Type: SecretLeaked, Path: "a/b", Run: "r", By: "user:alice"}
	if diff := cmp.Diff("a/b is declared leaked by user:alice: its former credential is retired without waiting for anybody.", run.Summary()); diff != "" {
		t.Error(diff)
	}
}
