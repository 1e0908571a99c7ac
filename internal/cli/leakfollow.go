package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// leakLook is how often is looked how far consumers are.
const leakLook = 2 * time.Second

// behindError says that somebody has the leaked value still.
type behindError struct{ message string }

func (e *behindError) Error() string { return e.message }

// follow says how the rotation goes on and who moves, until all have moved or the time is over.
func (l *leakRun) follow(ctx context.Context) error {
	deadline := l.session.now().Add(l.flags.wait)
	state, known := "", map[string]bool{}
	for {
		err := l.look(ctx)
		if err == nil {
			state = l.sayState(state)
			l.sayMoved(known)
		}
		over := !l.session.now().Before(deadline)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case sdk.CodeOf(err) == sdk.CodeNotFoundOrDenied:
			return l.unseen()
		case err != nil && (over || sdk.CodeOf(err) != sdk.CodeUnavailable):
			return err
		case err == nil && (over || l.ended()):
			return l.verdict()
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(leakLook, max(deadline.Sub(l.session.now()), 0))):
		}
	}
}

// unseen says that what was begun goes on, though it cannot be followed.
func (l *leakRun) unseen() error {
	if l.Run == nil {
		l.say("Who has moved is not told: you may not see it, or %s is there no more. Have somebody look who may: coffer consumers %s", l.path, l.path)
		return nil
	}
	l.say("The rotation goes on by itself. What comes of it is not told: you may not see it, which takes list or read, or %s is there no more. "+
		"Have somebody look who may: coffer rotation show %s", l.path, l.path)
	return nil
}

// look asks how far it is.
func (l *leakRun) look(ctx context.Context) error {
	if l.Run != nil && !l.Run.Ended {
		shown, err := within(ctx, l.session, func(ctx context.Context) (sdk.RotationStatus, error) { return l.client.ShowRotation(ctx, l.path) })
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(shown.Runs, func(r sdk.RotationRun) bool { return r.ID == l.Run.ID }); i >= 0 {
			l.Run = &shown.Runs[i]
		}
		l.New = l.Run.To
	}
	found, err := within(ctx, l.session, func(ctx context.Context) ([]sdk.Consumer, error) { return l.client.Consumers(ctx, l.path) })
	if err != nil {
		return err
	}
	l.Consumers = make([]leakConsumer, len(found))
	moved := map[string]bool{}
	for i, c := range found {
		l.Consumers[i] = leakConsumer{c, l.moved(c)}
		if c.State != sdk.ConsumerCached {
			moved[c.Cluster+"/"+consumerName(c)] = l.Consumers[i].Moved
		}
	}
	// What a program may keep in memory of before is told, and waited for by nobody: it has read another value since.
	for i := range l.Consumers {
		if c := &l.Consumers[i]; c.State == sdk.ConsumerCached {
			c.Moved = moved[c.Cluster+"/"+consumerName(c.Consumer)]
		}
	}
	return nil
}

// moved reports whether c, with all its workloads, has the new value; where there is none, whether it has not the leaked one.
func (l *leakRun) moved(c sdk.Consumer) bool {
	switch {
	case c.RolledOut < c.Workloads:
		return false
	case l.New != 0:
		return c.Version >= l.New
	case l.Run != nil:
		return false // it is not made yet
	}
	return c.Version != l.Leaked
}

// sayState tells of a state of the run that is new, and returns the present one.
func (l *leakRun) sayState(before string) string {
	if l.Run == nil || l.Run.State == before {
		return before
	}
	text := "The rotation is " + l.Run.State
	if l.New != 0 {
		text += fmt.Sprintf(", version %d", l.New)
	}
	if l.Run.WaitsFor != "" {
		text += ": " + l.Run.WaitsFor
	}
	l.say("%s", printable(text))
	return l.Run.State
}

// sayMoved tells of consumers that have moved since known was.
func (l *leakRun) sayMoved(known map[string]bool) {
	for _, c := range l.Consumers {
		name := fmt.Sprintf("%s in %s version %d", consumerName(c.Consumer), c.Cluster, c.Version)
		if c.Moved && c.State != sdk.ConsumerCached && !known[name] {
			known[name] = true
			l.say("%s", printable(fmt.Sprintf("%s in %s has version %d", consumerName(c.Consumer), c.Cluster, c.Version)))
		}
	}
}

// ended reports whether there is nothing more to wait for.
func (l *leakRun) ended() bool {
	if l.Run != nil && (!l.Run.Ended || l.Run.State != "done") {
		return l.Run.Ended || l.Run.State == "failed" && l.Run.WaitsFor != ""
	}
	return len(l.behind()) == 0
}

func (l *leakRun) behind() (names []string) {
	for _, c := range l.Consumers {
		if name := consumerName(c.Consumer); !c.Moved && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// verdict is an error when somebody has the leaked value still, or a system accepts it.
func (l *leakRun) verdict() error {
	if r := l.Run; r != nil && r.State != "done" {
		said := []string{"the rotation of", l.path, "is", r.State + ", so the leaked credential may still be accepted;", "see coffer rotation show", l.path}
		for _, why := range []string{r.Reason, r.Problem} {
			if why != "" {
				said = append(said, "("+why+")")
			}
		}
		return &behindError{printable(strings.Join(said, " "))}
	}
	if behind := l.behind(); len(behind) > 0 {
		return &behindError{printable(fmt.Sprintf("%s not on the new value: %s; look again with coffer consumers %s", areOf(len(behind)), strings.Join(behind, ", "), l.path))}
	}
	return nil
}

func areOf(n int) string {
	if n == 1 {
		return "1 consumer is"
	}
	return fmt.Sprintf("%d consumers are", n)
}
