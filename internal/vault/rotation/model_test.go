package rotation

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is what a rotation is about: a system that accepts the credentials of some versions, a path, and consumers that each
// have what a version says.
type world struct {
	accepted  []int64
	current   int64
	consumers []int64
	now       time.Time
	run       Run
	// broken are the consumers without which the owner went on, until they move.
	broken map[int]bool
	// retired: the former version is deleted, and nobody can go back to it.
	retired bool
	// alone: the system accepts one credential at a time.
	alone bool
}

const former, next = int64(3), int64(4)

// do has the system and the path as they are after the run's next action. What is of the vault, commit, takes effect together with the
// run, and the rest by itself.
func (w *world) do() (o Outcome, commit func()) {
	commit = func() {}
	switch action := w.run.Next(); action {
	case Create:
		o.From, o.To, o.NoOverlap = former, next, w.alone
	case SetNext:
		if w.alone {
			w.refuse(former)
		}
		w.accept(next)
	case Test:
		if !slices.Contains(w.accepted, next) {
			o.Err = errors.New("the new credential is not accepted")
		}
	case Promote:
		commit = func() { w.current = next }
	case Demote:
		commit = func() {
			if w.run.TurnedAt != nil {
				w.current = former
			}
		}
	case Count:
		o.Total, o.Moved, o.Reverted = len(w.consumers), w.have(next), w.current == former
	case CountBack:
		o.Total, o.Moved = len(w.consumers), w.have(former)
	case Finish:
		w.refuse(former)
	case Revoke:
		if w.alone {
			w.accept(former)
		}
		w.refuse(next)
	default: // of the run alone
	}
	return o, commit
}

func (w *world) accept(v int64) {
	if !slices.Contains(w.accepted, v) {
		w.accepted = append(w.accepted, v)
	}
}

func (w *world) refuse(v int64) {
	w.accepted = slices.DeleteFunc(w.accepted, func(a int64) bool { return a == v })
}

func (w *world) have(v int64) (n int) {
	for _, c := range w.consumers {
		if c == v {
			n++
		}
	}
	return n
}

// step takes the run's next action, which may fail before or after its effect, or be cut off before the run knows of it.
func (w *world) step(t *rapid.T) {
	before := w.run
	how := "done"
	if rapid.IntRange(0, 3).Draw(t, "well") == 3 {
		how = rapid.SampledFrom([]string{"fails", "fails late", "killed before", "killed after", "hopeless"}).Draw(t, "how")
	}
	failed := Outcome{Err: errSilent, Permanent: how == "hopeless"}
	switch how {
	case "killed before":
		return
	case "fails", "hopeless":
		w.run, _ = w.run.After(failed, w.now, pace)
		return
	}
	o, commit := w.do()
	switch how {
	case "done":
		w.run, _ = before.After(o, w.now, pace)
		commit()
	case "fails late":
		w.run, _ = before.After(failed, w.now, pace)
	}
	w.chosen(before)
}

// chosen takes note of what is so with the run's new state: the former version is deleted when it is to be retired, and the owner may not have
// waited for those that have not moved.
func (w *world) chosen(before Run) {
	w.retired = w.retired || w.run.State == Retiring
	gone := before.TurnedAt != nil && before.State != w.run.State && (w.run.State == Retiring || w.run.State == Revoking)
	if gone && (before.Approved || before.RevokeOld || before.Definition.Consumed.Then == Proceed) && w.run.Moved < w.run.Total {
		for i, has := range w.consumers {
			if has != w.current {
				w.broken[i] = true
			}
		}
	}
}

// move has a consumer take what the path has.
func (w *world) move(i int) {
	w.consumers[i] = w.current
	delete(w.broken, i)
}

// goBack has a consumer that does not come up with the new version take the former one again, if that can be had, and tell of it.
func (w *world) goBack(i int) {
	if w.consumers[i] == next && !w.retired {
		w.consumers[i] = former
		w.say(w.run.Fail("the pods do not come up"))
	}
}

func drawWorld(t *rapid.T) *world {
	w := &world{accepted: []int64{former}, current: former, now: start, broken: map[int]bool{}, alone: rapid.IntRange(0, 3).Draw(t, "alone") == 3}
	for range rapid.IntRange(0, 4).Draw(t, "consumers") {
		w.consumers = append(w.consumers, former)
	}
	w.run = Run{State: Planned, EnteredAt: start, RevokeOld: rapid.IntRange(0, 9).Draw(t, "leaked") == 9}
	w.run.Definition.Failure = rapid.SampledFrom([]OnFailure{"", RollBack, Hold}).Draw(t, "on failure")
	w.run.Definition.Consumed.Then = rapid.SampledFrom([]Then{"", Ask, Proceed}).Draw(t, "then")
	w.run.Definition.Attempts = rapid.IntRange(0, 3).Draw(t, "attempts")
	for range rapid.IntRange(0, 5).Draw(t, "done already") {
		w.well()
	}
	return w
}

// well takes the next action, which is done.
func (w *world) well() {
	before := w.run
	o, commit := w.do()
	w.run, _ = before.After(o, w.now, pace)
	commit()
	w.chosen(before)
}

// TestNoConsumerIsLeftWithoutACredential: whatever fails, whoever is killed, and whatever people and clocks do in between, the system
// accepts what each consumer has, unless the owner chose not to wait for it. When the run has ended one credential is accepted, and the
// path and all consumers have it.
func TestNoConsumerIsLeftWithoutACredential(t *testing.T) {
	seen := map[State]int{}
	for range 30 { // a run is cheap, and many ways are long
		rapid.Check(t, func(t *rapid.T) { live(t, seen) })
	}
	for _, s := range States() {
		if seen[s] == 0 && s != Abandoned {
			t.Errorf("nothing was tried in the state %s: %v", s, seen)
		}
	}
}

// live is a life of a world.
func live(t *rapid.T, seen map[State]int) {
	w := drawWorld(t)
	anyone := func(do func(i int)) func(*rapid.T) {
		return func(t *rapid.T) {
			if len(w.consumers) > 0 {
				do(rapid.IntRange(0, len(w.consumers)-1).Draw(t, "who"))
			}
		}
	}
	t.Repeat(map[string]func(*rapid.T){
		"step":    w.step,
		"step on": w.step,
		"move":    anyone(w.move),
		"go back": anyone(w.goBack),
		"new":     func(*rapid.T) { w.consumers = append(w.consumers, w.current) },
		"time": func(t *rapid.T) {
			w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int{-100_000, -10, 1, 10, 400, 90_000}).Draw(t, "seconds")) * time.Second)
		},
		"approve": func(*rapid.T) { w.say(w.run.Approve()) },
		"cancel":  func(*rapid.T) { w.cancel() },
		"leak":    func(*rapid.T) { w.say(w.run.Leaked()) },
		"roll back": func(*rapid.T) {
			if w.moves() {
				w.current = former
			}
		},
		"fail": func(*rapid.T) { w.say(w.run.Fail("the pods do not come up")) },
		"":     func(t *rapid.T) { seen[w.run.State]++; w.check(t) },
	})
	w.finish(t)
}

func (w *world) say(r Run, err error) {
	if err == nil {
		w.run = r
	}
}

// moves reports whether consumers are to move to the new version.
func (w *world) moves() bool { return w.run.State == Current || w.run.State == Propagating }

// cancel, but not so that the run is given up: then there may be two credentials.
func (w *world) cancel() {
	if r, err := w.run.Cancel("user:alice", w.now); err == nil && r.State != Abandoned {
		w.run = r
	}
}

func (w *world) check(t *rapid.T) {
	if w.alone {
		w.checkAlone(t)
		return
	}
	if !slices.Contains(w.accepted, w.current) {
		t.Fatalf("%s: version %d is current, and %v are accepted", w.run.State, w.current, w.accepted)
	}
	for i, has := range w.consumers {
		if !w.broken[i] && !slices.Contains(w.accepted, has) {
			t.Fatalf("%s: consumer %d has version %d, and %v are accepted", w.run.State, i, has, w.accepted)
		}
	}
}

// checkAlone: where one credential is accepted at a time, there is one, it is the current one whenever nothing is being done, and
// nobody is waited for who cannot come up.
func (w *world) checkAlone(t *rapid.T) {
	if len(w.accepted) != 1 {
		t.Fatalf("%s: %v are accepted", w.run.State, w.accepted)
	}
	if w.moves() && w.current == former {
		return // somebody rolled back to what is not accepted, and the run has not seen it yet
	}
	switch w.run.State {
	case Planned, Current, Propagating, Retiring, Withdrawing, Done, RolledBack:
		if w.accepted[0] != w.current {
			t.Fatalf("%s: version %d is current, and %v are accepted", w.run.State, w.current, w.accepted)
		}
	default:
	}
}

// finish lets everything go well from here.
func (w *world) finish(t *rapid.T) {
	for n := 0; !w.run.State.Ended(); n++ {
		if n > 100 {
			t.Fatalf("it does not end: %+v", w.run)
		}
		if w.run.Next() == Nothing {
			w.say(w.run.Approve())
		}
		for i := range w.consumers {
			w.move(i)
		}
		w.now = w.now.Add(time.Hour)
		w.well()
		w.check(t)
	}
	want := map[State]int64{Done: next, RolledBack: former}[w.run.State]
	if w.current != want || !slices.Equal(w.accepted, []int64{want}) || w.have(want) != len(w.consumers) && len(w.broken) == 0 && !w.alone {
		t.Fatalf("%s: version %d is current, %v are accepted, and consumers have %v", w.run.State, w.current, w.accepted, w.consumers)
	}
}
