package runner

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"unicode"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// acting is one action of a run under way.
type acting struct {
	runner   *Runner
	claim    *vault.RotationClaim
	progress vault.RotationProgress
	// held are the credentials read and made, which no message may show.
	held []rotator.Credential
}

// permanent wraps an error that would come again.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// forGood are errors that somebody has to mend: to try again would only fail again, and lock an account.
var forGood = []error{rotator.ErrSetup, rotator.ErrRights, rotator.ErrRefused, generate.ErrSpec}

func isPermanent(err error) bool {
	if _, is := errors.AsType[permanent](err); is {
		return true
	}
	return !errors.Is(err, rotator.ErrUnreachable) && slices.ContainsFunc(forGood, func(e error) bool { return errors.Is(err, e) })
}

// do does what the run's next action is outside of the vault, and notes how it went.
func (a *acting) do(ctx context.Context) (err error) {
	action := a.claim.Run.Next()
	ctx = rotator.WithRun(ctx, a.claim.Run.ID)
	defer func() {
		if p := recover(); p != nil {
			a.runner.Logger.ErrorContext(ctx, "a rotator panicked", "action", action, "stack", string(debug.Stack())) // p may hold a value
			err = permanent{errors.New("the rotator panicked; the log says where")}
		}
	}()
	operation := "rotation-" + strings.ReplaceAll(string(action), " ", "-")
	failpoint.Hit(operation, failpoint.BeforeAction)
	switch action {
	case rotation.Create:
		err = a.create(ctx)
	case rotation.SetNext:
		err = a.withBoth(ctx, func(r rotator.Rotator, former, next rotator.Credential) error { return r.Set(ctx, former, next) })
	case rotation.Test:
		err = a.withBoth(ctx, func(r rotator.Rotator, _, next rotator.Credential) error { return r.Test(ctx, next) })
	case rotation.Finish:
		err = a.withBoth(ctx, func(r rotator.Rotator, former, next rotator.Credential) error { return r.Finish(ctx, former, next) })
	case rotation.Revoke:
		err = a.withBoth(ctx, func(r rotator.Rotator, former, next rotator.Credential) error { return r.Revoke(ctx, former, next) })
	case rotation.Count:
		err = a.count(ctx, a.runner.Consumers.Consumers, a.claim.Run.To)
	case rotation.CountBack:
		err = a.count(ctx, a.runner.Consumers.ConsumersBack, a.claim.Run.From)
	default: // what is of the vault alone is done with the writing of the run
	}
	if err == nil {
		failpoint.Hit(operation, failpoint.AfterAction)
	}
	return err
}

func (a *acting) path() (secret.Path, error) { return secret.ParsePath(a.claim.Run.Definition.Path) }

// rotator is that of the run's definition.
func (a *acting) rotator(ctx context.Context) (rotator.Rotator, error) {
	return a.runner.Rotators(ctx, a.claim.Run.Definition.Method, func(ctx context.Context, path secret.Path) (rotator.Credential, error) {
		found, err := a.read(ctx, secret.Ref{Path: path})
		return found.credential, err
	})
}

// opened is a credential that was read.
type opened struct {
	credential rotator.Credential
	raw        bool
	version    int64
}

func (a *acting) read(ctx context.Context, ref secret.Ref) (opened, error) {
	return a.opened(a.runner.Vault.Read(ctx, a.claim.Caller(), ref))
}

func (a *acting) opened(found secret.Secret, err error) (opened, error) {
	if err != nil {
		return opened{}, err
	}
	defer found.Value.Clear()
	o := opened{version: found.Version}
	o.credential, o.raw = credentialOf(found.Value)
	a.held = append(a.held, o.credential)
	return o, nil
}

// create makes the next credential of the current one.
func (a *acting) create(ctx context.Context) error {
	path, err := a.path()
	if err != nil {
		return err
	}
	current, err := a.read(ctx, secret.Ref{Path: path})
	if err != nil {
		return err
	}
	r, err := a.rotator(ctx)
	if err != nil {
		return err
	}
	next, err := r.Create(ctx, current.credential)
	a.held = append(a.held, next)
	if err != nil {
		return err
	}
	a.progress.Outcome.From, a.progress.Outcome.NoOverlap = current.version, !rotator.Overlaps(r)
	a.progress.Value, err = valueOf(next, current.raw)
	return err
}

// withBoth has a rotator do something with the two credentials. While the new one is not current, or no more, the former one must
// be: a credential that somebody else has written is not to be made useless.
func (a *acting) withBoth(ctx context.Context, do func(r rotator.Rotator, former, next rotator.Credential) error) error {
	path, err := a.path()
	if err != nil {
		return err
	}
	run := &a.claim.Run
	current, err := a.read(ctx, secret.Ref{Path: path})
	if err != nil {
		return err
	}
	wanted := run.From
	if run.State == rotation.Retiring {
		wanted = run.To
	}
	if current.version != wanted {
		return fmt.Errorf("%w: it is %d", rotation.ErrOvertaken, current.version)
	}
	former, err := a.opened(a.runner.Vault.ReadFormer(ctx, a.claim))
	if err != nil {
		return fmt.Errorf("version %d: %w", run.From, err)
	}
	next, err := a.read(ctx, secret.Ref{Path: path, Version: run.To})
	if err != nil {
		return fmt.Errorf("version %d: %w", run.To, err)
	}
	r, err := a.rotator(ctx)
	if err != nil {
		return err
	}
	return do(r, former.credential, next.credential)
}

func (a *acting) count(
	ctx context.Context, of func(context.Context, secret.Path, int64) (total, moved int, err error), version int64,
) error {
	path, err := a.path()
	if err != nil {
		return err
	}
	a.progress.Outcome.Total, a.progress.Outcome.Moved, err = of(ctx, path, version)
	return err
}

// clear forgets the value that was made. Credentials are strings, which nobody can overwrite.
func (a *acting) clear() {
	a.progress.Value.Clear()
	a.held = nil
}

const (
	// shownBytes bounds a message.
	shownBytes = 1 << 10
	// minHidden is the shortest part of a credential that a message is searched for: shorter ones, such as a port, stand in many.
	minHidden = 4
)

// told is err as it may be shown: without what is in a credential, in one line, and not longer than people read.
func (a *acting) told(err error) error {
	text := err.Error()
	for _, part := range a.hidden() {
		text = strings.ReplaceAll(text, part, "[redacted]")
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > shownBytes {
		text = strings.ToValidUTF8(text[:shownBytes], "") + "…"
	}
	if errors.Is(err, rotation.ErrOvertaken) {
		return shown{text, rotation.ErrOvertaken}
	}
	return shown{text, nil}
}

// hidden are the parts of credentials that no message may have, the longest first: a shorter one may be within it.
func (a *acting) hidden() (parts []string) {
	for _, credential := range a.held {
		for _, part := range credential {
			if len(part) >= minHidden {
				parts = append(parts, part)
			}
		}
	}
	slices.SortFunc(parts, func(x, y string) int { return len(y) - len(x) })
	return parts
}

// shown is an error that may be shown.
type shown struct {
	text string
	is   error
}

func (s shown) Error() string { return s.text }

func (s shown) Unwrap() error { return s.is }
