// Package runner brings rotations on: it plans those that are due, and takes the actions of their runs. Every replica has a
// runner; the lease of a run, in the database, lets one at a time work on it.
package runner

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Usual times of a Runner.
const (
	// usualLease is longer than a system takes to answer; after it another replica goes on with the run of one that is gone.
	usualLease = time.Minute
	usualLook  = 2 * time.Second
	usualPlan  = 30 * time.Second
	// usualWidth is how many runs a replica works on at a time: each may wait for a system.
	usualWidth = 4
)

// Vault is what the runner needs of the engine. *vault.Engine implements it.
type Vault interface {
	PlanRotations(ctx context.Context, ends vault.Ends) (next time.Time, err error)
	ClaimRotation(ctx context.Context, lease time.Duration) (*vault.RotationClaim, error)
	AdvanceRotation(ctx context.Context, c *vault.RotationClaim, p vault.RotationProgress) (held bool, err error)
	ReleaseRotation(ctx context.Context, c *vault.RotationClaim, wait time.Duration) error
	Read(ctx context.Context, caller secret.Caller, ref secret.Ref) (secret.Secret, error)
	ReadFormer(ctx context.Context, c *vault.RotationClaim) (secret.Secret, error)
}

// Consumers knows who holds which version of a path.
type Consumers interface {
	// Consumers counts those of a path, and those of them that have moved on to version.
	Consumers(ctx context.Context, path secret.Path, version int64) (total, moved int, err error)
	// ConsumersBack counts those of a path, and those of them that have nothing newer than version any more.
	ConsumersBack(ctx context.Context, path secret.Path, version int64) (total, moved int, err error)
}

// Reader reads another credential in the name of the rotation's service account, such as the one that a rotator logs in with.
type Reader func(ctx context.Context, path secret.Path) (rotator.Credential, error)

// Rotators makes the rotator of a method. An error says what to mend in the definition, or that read failed.
type Rotators func(ctx context.Context, m rotation.Method, read Reader) (rotator.Rotator, error)

// Renewers makes what knows when credentials of a method end by themselves; nil when they do not. An error says what to mend in the
// definition.
type Renewers func(m rotation.Method) (rotator.Renewer, error)

// Runner brings rotations on. Vault, Rotators and Consumers are needed.
type Runner struct {
	Vault    Vault
	Rotators Rotators
	// Renewers may be nil: no credential ends by itself.
	Renewers  Renewers
	Consumers Consumers
	// Logger defaults to slog.Default.
	Logger *slog.Logger
	// Clock is that of the vault; time.Now when nil.
	Clock func() time.Time
	// Pace is rotation.UsualPace when zero.
	Pace rotation.Pace
	// Lease is how long a run is this replica's; an action is given up some time before. A minute when 0.
	Lease time.Duration
	// Look is how often is looked for runs that are to go on, and Plan for rotations that are due: two seconds and half a minute when 0.
	Look, Plan time.Duration
	// Width is how many runs are worked on at a time; four when 0.
	Width int
}

// Run brings rotations on until ctx ends, and then waits for the actions that are under way, which it cuts off.
func (r *Runner) Run(ctx context.Context) {
	r = r.complete()
	var wait sync.WaitGroup
	defer wait.Wait()
	turns := make(chan struct{}, r.Width)
	look := time.NewTicker(r.Look)
	defer look.Stop()
	var plan time.Time
	for {
		if !time.Now().Before(plan) {
			plan = time.Now().Add(r.plan(ctx))
		}
		for r.take(ctx, turns, &wait) {
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// complete is r with what it was not given.
func (r *Runner) complete() *Runner {
	c := *r
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Pace == (rotation.Pace{}) {
		c.Pace = rotation.UsualPace()
	}
	if c.Lease == 0 {
		c.Lease = usualLease
	}
	if c.Look == 0 {
		c.Look = usualLook
	}
	if c.Plan == 0 {
		c.Plan = usualPlan
	}
	if c.Width == 0 {
		c.Width = usualWidth
	}
	return &c
}

// plan plans what is due, and says when to do so again.
func (r *Runner) plan(ctx context.Context) time.Duration {
	next, err := r.Vault.PlanRotations(ctx, r.Ends)
	if err != nil {
		if ctx.Err() == nil {
			r.Logger.WarnContext(ctx, "rotations that are due were not looked for; trying again", "error", err)
		}
		return r.Plan
	}
	if next.IsZero() {
		return r.Plan
	}
	return min(r.Plan, max(next.Sub(r.Clock()), 0))
}

// take begins to work on a run when there is one and a turn is free, and reports whether there may be another.
func (r *Runner) take(ctx context.Context, turns chan struct{}, wait *sync.WaitGroup) bool {
	select {
	case turns <- struct{}{}:
	default:
		return false
	}
	c, err := r.Vault.ClaimRotation(ctx, r.Lease)
	if err != nil || c == nil {
		<-turns
		if err != nil && ctx.Err() == nil {
			r.Logger.WarnContext(ctx, "no rotation could be taken; trying again", "error", err)
		}
		return false
	}
	wait.Go(func() {
		defer func() { <-turns }()
		for r.step(ctx, c) {
		}
	})
	return true
}

// step takes the next action of a run, and reports whether the run is to go on at once.
func (r *Runner) step(ctx context.Context, c *vault.RotationClaim) bool {
	// Nothing of an action is under way any more when another replica may take the run.
	within, cancel := context.WithTimeout(ctx, r.Lease*2/3)
	defer cancel()
	before := c.Run.State
	a := &acting{runner: r, claim: c, progress: vault.RotationProgress{Pace: r.Pace, Lease: r.Lease}}
	defer a.clear()
	err := a.do(within)
	if err == nil {
		var held bool
		if held, err = r.Vault.AdvanceRotation(ctx, c, a.progress); err == nil {
			r.tell(ctx, c, before)
			return held
		}
	}
	return r.failed(ctx, a, err, before)
}

// failed takes note of an action that failed with err.
func (r *Runner) failed(ctx context.Context, a *acting, err error, before rotation.State) bool {
	c := a.claim
	switch {
	case ctx.Err() != nil, errors.Is(err, vault.ErrRotationLost):
		r.release(ctx, c, 0)
		return false
	case errors.Is(err, secret.ErrUnavailable): // not the rotation's fault
		r.Logger.WarnContext(ctx, "a rotation waits for the vault's database", "rotation", c.Run.Definition.Name, "run", c.Run.ID, "error", err)
		r.release(ctx, c, r.Pace.Retry)
		return false
	}
	p := vault.RotationProgress{Pace: r.Pace, Lease: r.Lease, Outcome: rotation.Outcome{Err: a.told(err), Permanent: isPermanent(err)}}
	held, err := r.Vault.AdvanceRotation(ctx, c, p)
	if err != nil {
		r.release(ctx, c, r.Pace.Retry)
		return false
	}
	r.tell(ctx, c, before)
	return held
}

func (r *Runner) release(ctx context.Context, c *vault.RotationClaim, wait time.Duration) {
	if err := r.Vault.ReleaseRotation(ctx, c, wait); err != nil {
		r.Logger.WarnContext(ctx, "a rotation was not given back; it goes on when its lease has ended", "rotation", c.Run.Definition.Name, "error", err)
	}
}

// tell logs what became of a run.
func (r *Runner) tell(ctx context.Context, c *vault.RotationClaim, before rotation.State) {
	attributes := []any{"rotation", c.Run.Definition.Name, "path", c.Run.Definition.Path, "run", c.Run.ID, "state", c.Run.State}
	switch {
	case c.Run.State != before && (c.Run.State == rotation.Failed || c.Run.State == rotation.Abandoned):
		r.Logger.ErrorContext(ctx, "a rotation failed", append(attributes, "in", c.Run.FailedIn, "reason", c.Run.Reason)...)
	case c.Run.State != before:
		r.Logger.InfoContext(ctx, "a rotation went on", attributes...)
	case c.Run.Problem != "":
		r.Logger.WarnContext(ctx, "a step of a rotation failed; trying again", append(attributes, "attempts", c.Run.Attempts, "problem", c.Run.Problem)...)
	}
}
