//go:build failpoints

package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	prom "github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/runner"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// rotating is the cluster and the path of the rotation that is killed.
const (
	rotating     = "rotating"
	rotatingPath = "rotating/database"
)

// passwords are what a system accepts. They are in a file to which each change is added by one write of the kernel's, so that they
// outlive whoever changes them.
type passwords struct{ file string }

func (p passwords) change(sign, password string) error {
	f, err := os.OpenFile(p.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(sign + password + "\n")
	return err
}

// accepted are sorted.
func (p passwords) accepted() ([]string, error) {
	text, err := os.ReadFile(p.file)
	if err != nil {
		return nil, err
	}
	accepted := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		password := strings.TrimSpace(line[1:])
		if line[0] == '+' {
			accepted[password] = true
		} else {
			delete(accepted, password)
		}
	}
	return slices.Sorted(maps.Keys(accepted)), nil
}

func (p passwords) Create(context.Context, rotator.Credential) (rotator.Credential, error) {
	return rotator.Credential{"password": canary + uuid.NewString()}, nil
}

func (p passwords) Set(_ context.Context, _, next rotator.Credential) error {
	return p.change("+", next["password"])
}

func (p passwords) Test(_ context.Context, next rotator.Credential) error {
	accepted, err := p.accepted()
	if err == nil && !slices.Contains(accepted, next["password"]) {
		err = errors.New("the new password is not accepted")
	}
	return err
}

func (p passwords) Finish(_ context.Context, previous, _ rotator.Credential) error {
	return p.change("-", previous["password"])
}

func (p passwords) Revoke(_ context.Context, _, next rotator.Credential) error {
	return p.change("-", next["password"])
}

// stuck are consumers of which one does not take a version.
type stuck struct{ version int64 }

func (s stuck) Consumers(_ context.Context, _ secret.Path, version int64) (total, moved int, err error) {
	if version == s.version {
		return 2, 1, nil
	}
	return 2, 2, nil
}

func (s stuck) ConsumersBack(ctx context.Context, path secret.Path, version int64) (total, moved int, err error) {
	return s.Consumers(ctx, path, version)
}

// rotation goes on with the rotation that was cut off, if any, and then does a whole one, as the operation says.
func (w *worker) rotation(ctx context.Context, caller secret.Caller, op string) error {
	system, path, err := w.rotated(ctx, caller)
	if err != nil {
		return err
	}
	if err := w.rotate(ctx, caller, system, stuck{}, nil); err != nil {
		return fmt.Errorf("go on with the one before: %w", err)
	}
	d := rotation.Definition{
		Name: "killed", As: rotation.Identity{Namespace: "rotating", ServiceAccount: "rotator"},
		Spec: rotation.Spec{Path: rotatingPath, Method: rotation.Method{Kind: "file"}, Attempts: 100 + w.n%7},
	}
	d.Consumed = rotation.Consumed{Grace: new(prom.Duration(0)), Wait: prom.Duration(time.Millisecond)}
	if _, err := w.engine.ReplaceRotations(ctx, rotating, []rotation.Definition{d}); err != nil {
		return err
	}
	versions, err := w.engine.Versions(ctx, caller, path)
	if err != nil {
		return err
	}
	if _, err := w.engine.RunRotation(ctx, caller, path, rotation.Request{}); err != nil {
		return err
	}
	if op == "rotation" {
		return w.rotate(ctx, caller, system, stuck{}, nil)
	}
	next := versions[0].Version + 1
	return w.rotate(ctx, caller, system, stuck{next}, func(r rotation.Run) error {
		var err error
		switch {
		case r.State != rotation.Propagating || r.Stop != "" || r.Approved || !r.Asked:
		case op == "rotation-approved":
			_, err = w.engine.ApproveRotation(ctx, caller, path)
		case op == "rotation-cancelled":
			_, err = w.engine.CancelRotation(ctx, caller, path)
		default:
			err = w.engine.FailRotation(ctx, path, r.To, "its consumers do not come up")
		}
		return err
	})
}

// rotated makes the path and the rights of the rotation, unless they are there.
func (w *worker) rotated(ctx context.Context, caller secret.Caller) (system passwords, path secret.Path, err error) {
	system = passwords{os.Getenv(workerLog) + ".system"}
	if path, err = secret.ParsePath(rotatingPath); err != nil {
		return system, path, err
	}
	pattern, err := policy.ParsePattern("rotating/**")
	if err != nil {
		return system, path, err
	}
	set, err := policy.New("rotating", []policy.Rule{{
		Effect: policy.Allow, Paths: []policy.Pattern{pattern}, Capabilities: policy.Capabilities(),
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: "rotating", Name: "rotator"}}},
	}})
	if err != nil {
		return system, path, err
	}
	if _, err := w.engine.ReplacePolicies(ctx, rotating, []policy.Policy{set}); err != nil {
		return system, path, err
	}
	const first = canary + "the first password"
	value, err := secret.NewValue([]byte(`{"password":"` + first + `"}`))
	if err != nil {
		return system, path, err
	}
	_, err = w.engine.Metadata(ctx, caller, path)
	if errors.Is(err, secret.ErrDenied) {
		if err := system.change("+", first); err != nil {
			return system, path, err
		}
		_, err = w.engine.Put(ctx, caller, secret.PutRequest{Path: path, Value: value})
	}
	return system, path, err
}

// rotate runs a runner until no run is under way, and then looks whether the system accepts what the path has, and nothing else. Meanwhile
// say hears how the run is.
func (w *worker) rotate(ctx context.Context, caller secret.Caller, system passwords, consumers runner.Consumers, say func(rotation.Run) error) error {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	r := &runner.Runner{
		Vault: w.engine, Consumers: consumers, Logger: slog.New(slog.DiscardHandler),
		Rotators: func(context.Context, rotation.Method, runner.Reader) (rotator.Rotator, error) { return system, nil },
		Pace:     rotation.Pace{Poll: 5 * time.Millisecond, Retry: 5 * time.Millisecond, Longest: 50 * time.Millisecond},
		Look:     5 * time.Millisecond, Plan: time.Hour, Lease: time.Second,
	}
	running, end := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(running)
	}()
	err := w.untilEnded(ctx, caller, say)
	end()
	<-ended
	if err != nil {
		return err
	}
	return w.checkRotated(ctx, caller, system)
}

func (w *worker) untilEnded(ctx context.Context, caller secret.Caller, say func(rotation.Run) error) error {
	path, err := secret.ParsePath(rotatingPath)
	if err != nil {
		return err
	}
	for {
		_, history, err := w.engine.ShowRotation(ctx, caller, path)
		switch {
		case errors.Is(err, secret.ErrInvalid): // nothing was defined yet
			return nil
		case err != nil:
			return err
		case len(history) == 0 || history[0].Run.State.Ended():
			return nil
		}
		if say != nil {
			// It may have gone on meanwhile.
			if err := say(history[0].Run); err != nil && !errors.Is(err, secret.ErrConflict) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the rotation does not end: %+v", history[0].Run)
		case <-time.After(50 * time.Millisecond): // each look is audited
		}
	}
}

func (w *worker) checkRotated(ctx context.Context, caller secret.Caller, system passwords) error {
	path, err := secret.ParsePath(rotatingPath)
	if err != nil {
		return err
	}
	found, err := w.engine.Read(ctx, caller, secret.Ref{Path: path})
	if err != nil {
		return err
	}
	defer found.Value.Clear()
	properties, _ := secret.Properties(found.Value)
	accepted, err := system.accepted()
	if err != nil {
		return err
	}
	if len(accepted) != 1 || accepted[0] != properties["password"] {
		return fmt.Errorf("the system accepts %d passwords, that of version %d: %v", len(accepted), found.Version, slices.Contains(accepted, properties["password"]))
	}
	return nil
}

var _ runner.Vault = (*vault.Engine)(nil)
