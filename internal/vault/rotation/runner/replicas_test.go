package runner_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/runner"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// dying is a vault whose process is killed at an action, after its effects outside of the vault: it
// writes nothing any more and gives nothing back.
type dying struct {
	*vault.Engine
	action rotation.Action
	died   chan struct{}
	once   sync.Once
}

func (d *dying) die() error {
	d.once.Do(func() { close(d.died) })
	return errors.New("killed")
}

func (d *dying) AdvanceRotation(ctx context.Context, c *vault.RotationClaim, p vault.RotationProgress) (bool, error) {
	select {
	case <-d.died:
		return false, d.die()
	default:
	}
	if c.Run.Next() == d.action {
		return false, d.die()
	}
	return d.Engine.AdvanceRotation(ctx, c, p)
}

func (d *dying) ReleaseRotation(ctx context.Context, c *vault.RotationClaim, wait time.Duration) error {
	select {
	case <-d.died:
		return d.die()
	default:
		return d.Engine.ReleaseRotation(ctx, c, wait)
	}
}

func (d *dying) Read(ctx context.Context, caller secret.Caller, ref secret.Ref) (secret.Secret, error) {
	select {
	case <-d.died:
		return secret.Secret{}, d.die()
	default:
		return d.Engine.Read(ctx, caller, ref)
	}
}

func (d *dying) ReadFormer(ctx context.Context, c *vault.RotationClaim) (secret.Secret, error) {
	select {
	case <-d.died:
		return secret.Secret{}, d.die()
	default:
		return d.Engine.ReadFormer(ctx, c)
	}
}

// TestKilledAtEachStep: another replica goes on when the lease has ended, and the rotation ends as if nothing had happened.
func TestKilledAtEachStep(t *testing.T) {
	type test struct {
		action rotation.Action
		fails  bool // after it is current
	}
	for _, c := range []test{
		{rotation.Create, false}, {rotation.SetNext, false}, {rotation.Test, false}, {rotation.Promote, false}, {rotation.Count, false},
		{rotation.Finish, false}, {rotation.GiveUp, true}, {rotation.Demote, true}, {rotation.CountBack, true}, {rotation.Revoke, true},
	} {
		t.Run(string(c.action), func(t *testing.T) {
			s := start(t, vaulttest.Config{})
			if c.fails {
				s.readers.move(1, "one")
			}
			s.ask(false)
			killed := &dying{Engine: s.Engine, action: c.action, died: make(chan struct{})}
			r := s.runner(killed)
			r.Lease = 2 * time.Second
			end := s.run(r)
			if c.fails {
				s.reaches(rotation.Propagating)
				if err := s.Engine.FailRotation(t.Context(), s.path, 2, "it does not come up"); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case <-killed.died:
			case <-time.After(within):
				t.Fatal("nobody was killed")
			}
			end()
			s.run(s.runner(s.Env.Open(t)))
			if !c.fails {
				s.reaches(rotation.Done)
				// What one made who was killed, or too slow for its lease, is nowhere.
				s.want(2, s.system.newest())
				s.isRetired(1)
				return
			}
			s.reaches(rotation.RolledBack)
			s.want(1, oldPassword)
			s.destroyed(2)
		})
	}
}

// TestReplicasRace for many rotations that are due at once, each again and again: one at a time works on each, and each time is
// rotated once.
func TestReplicasRace(t *testing.T) {
	const paths, rounds = 6, 3
	clock := &setClock{now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
	s := start(t, vaulttest.Config{Clock: clock.Now})
	systems := map[string]*system{}
	var definitions []rotation.Definition
	for n := range paths {
		d := definition(fmt.Sprintf("production/p%d/database", n))
		d.Method.Kind = d.Path
		d.Schedule.Every = model.Duration(time.Hour)
		definitions = append(definitions, d)
		systems[d.Path] = newSystem(oldPassword)
		s.Put(t, d.Path, `{"user":"app","password":"`+oldPassword+`"}`)
	}
	s.define(definitions...)
	for range 2 {
		r := s.runner(s.Env.Open(t))
		r.Clock = clock.Now
		r.Rotators = func(_ context.Context, m rotation.Method, _ runner.Reader) (rotator.Rotator, error) {
			return systems[m.Kind], nil
		}
		s.run(r)
	}
	for round := range rounds {
		clock.add(61 * time.Minute)
		s.all(paths, int64(round+2))
	}
	for path, system := range systems {
		if system.overlapped {
			t.Errorf("%s: two worked on it at a time", path)
		}
		if n := len(slices.DeleteFunc(system.called(), func(c string) bool { return c != "create" })); n != rounds {
			t.Errorf("%s: %d passwords were made, want %d", path, n, rounds)
		}
		if accepts := system.accepts(); !slices.Equal(accepts, []string{fmt.Sprintf("password-%d-of-the-system", rounds)}) {
			t.Errorf("%s accepts %v", path, accepts)
		}
	}
}

// all waits until each of so many rotations is done and has made a version.
func (s *suite) all(paths int, version int64) {
	s.t.Helper()
	deadline := time.After(within)
	for {
		standing, err := s.Engine.DefinedRotations(s.t.Context(), s.Admin, secret.Prefix{})
		if err != nil {
			s.t.Fatal(err)
		}
		done := 0
		for _, r := range standing {
			if r.Newest != nil && r.Newest.State == rotation.Done && r.Newest.To == version {
				done++
			}
		}
		if done == paths {
			return
		}
		select {
		case <-deadline:
			s.t.Fatalf("%d of %d rotations made version %d", done, paths, version)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestPlanAfterAWrongClock: a clock that ran a year ahead has had one rotation done before its time. When it is right again, that one is not
// done a second time, and the next one is not put off.
func TestPlanAfterAWrongClock(t *testing.T) {
	clock := &setClock{now: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)}
	s := start(t, vaulttest.Config{Clock: clock.Now}, func(d *rotation.Definition) { d.Schedule.Cron = "0 3 * * *" })
	done := func(version int64) {
		t.Helper()
		r := s.runner(s.Engine)
		r.Clock = clock.Now
		end := s.run(r)
		s.all(1, version)
		end()
	}
	clock.add(24 * time.Hour)
	done(2)
	clock.add(365 * 24 * time.Hour)
	done(3) // it was due on the third
	clock.add(-365 * 24 * time.Hour)
	for _, at := range []int{3, 4} {
		clock.add(24 * time.Hour)
		if _, err := s.Engine.PlanRotations(t.Context(), s.runner(s.Engine).Ends); err != nil {
			t.Fatal(err)
		}
		standing, err := s.Engine.DefinedRotations(t.Context(), s.Admin, secret.Prefix{})
		if err != nil || len(standing) != 1 {
			t.Fatalf("%d rotations, %v", len(standing), err)
		}
		if planned := !standing[0].Newest.State.Ended(); planned != (at == 4) {
			t.Errorf("on the %d. of March planned is %v, and the next is due at %v", at, planned, standing[0].Next)
		}
	}
}

type setClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *setClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *setClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestLateReplica: who was away for longer than its lease writes nothing, and so does who does not know that the run was changed.
func TestLateReplica(t *testing.T) {
	s := start(t, vaulttest.Config{})
	s.ask(false)
	progress := vault.RotationProgress{Outcome: rotation.Outcome{From: 1}, Value: vaulttest.Value(t, "{}"), Pace: rotation.UsualPace(), Lease: within}
	late, err := s.Engine.ClaimRotation(t.Context(), time.Millisecond)
	if err != nil || late == nil {
		t.Fatalf("%v, %v", late, err)
	}
	free := s.claim()
	if _, err := s.Engine.AdvanceRotation(t.Context(), late, progress); !errors.Is(err, vault.ErrRotationLost) {
		t.Errorf("the late one: %v", err)
	} else if other, err := s.Env.Open(t).ClaimRotation(t.Context(), within); err != nil || other != nil {
		t.Errorf("while it is held: %v, %v", other, err)
	} else {
		if _, err := s.Engine.CancelRotation(t.Context(), s.Admin, s.path); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Engine.AdvanceRotation(t.Context(), free, progress); !errors.Is(err, vault.ErrRotationLost) {
			t.Errorf("after it was cancelled: %v", err)
		}
	}
	versions, err := s.Engine.Versions(t.Context(), s.Admin, s.path)
	if err != nil || len(versions) != 1 {
		t.Errorf("%d versions, %v", len(versions), err)
	}
}

// claim takes the run, as soon as the lease of another has ended.
func (s *suite) claim() *vault.RotationClaim {
	s.t.Helper()
	for deadline := time.After(within); ; {
		c, err := s.Engine.ClaimRotation(s.t.Context(), within)
		if err != nil {
			s.t.Fatal(err)
		}
		if c != nil {
			return c
		}
		select {
		case <-deadline:
			s.t.Fatal("nothing is to be taken")
		case <-time.After(time.Millisecond):
		}
	}
}

// TestPlan says when rotations are due, and what keeps them from it.
func TestPlan(t *testing.T) {
	begin := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	clock := &setClock{now: begin}
	s := start(t, vaulttest.Config{Clock: clock.Now})
	every, line, off, missing := definition(thePath), definition("production/line"), definition("production/off"), definition("production/missing")
	every.Schedule.Every, off.Schedule.Every, missing.Schedule.Every = model.Duration(48*time.Hour), model.Duration(time.Hour), model.Duration(time.Hour)
	line.Schedule.Cron, off.Suspended = "0 3 * * *", true
	s.Put(t, line.Path, "v")
	s.Put(t, off.Path, "v")
	clock.add(24 * time.Hour) // of those by a line, no time before they were defined counts
	all := []rotation.Definition{every, line, off, missing}
	s.define(all...)
	dueAt := func() map[string]time.Time {
		t.Helper()
		standing, err := s.Engine.DefinedRotations(t.Context(), s.Admin, secret.Prefix{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]time.Time{}
		for _, r := range standing {
			if !r.Next.IsZero() {
				found[r.Definition.Path] = r.Next
			}
		}
		return found
	}
	want := func(what string, w map[string]time.Time) {
		t.Helper()
		if got := dueAt(); !maps.EqualFunc(got, w, time.Time.Equal) {
			t.Errorf("%s: due are %v, want %v", what, got, w)
		}
	}
	plan := func(next time.Time) {
		t.Helper()
		if got, err := s.Engine.PlanRotations(t.Context(), s.runner(s.Engine).Ends); err != nil || !got.Equal(next) {
			t.Errorf("planned next at %v, %v; want %v", got, err, next)
		}
	}
	at3 := time.Date(2026, 3, 3, 3, 0, 0, 0, time.UTC)
	want("at first", map[string]time.Time{thePath: begin.Add(48 * time.Hour), line.Path: at3})
	plan(at3)
	clock.add(18 * time.Hour) // one misses its time, and is planned as soon as somebody looks
	plan(begin.Add(48 * time.Hour))
	want("while one is under way", map[string]time.Time{thePath: begin.Add(48 * time.Hour)})
	s.Put(t, thePath, "by hand")
	byHand := clock.Now()
	want("when it was rotated by hand", map[string]time.Time{thePath: byHand.Add(48 * time.Hour)})
	s.define(all...)
	clock.add(-1000 * time.Hour)
	want("when the clock was wrong", map[string]time.Time{})
}
