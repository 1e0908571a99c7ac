package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// within bounds what a test waits for: all of it takes a second on a machine that has nothing else to do.
const within = time.Minute

// system is one whose credentials are rotated: it accepts passwords.
type system struct {
	mu       sync.Mutex
	accepted map[string]bool
	made     int
	calls    []string // of the rotator, in order
	// before is called before each of them, with its name; its error is the answer.
	before func(call string) error
	// alone: it accepts one password at a time.
	alone bool
	// runs are what the contexts of the calls name, each once.
	runs []string
	// active counts the calls under way, and overlapped says that there were two.
	active     int
	overlapped bool
}

func newSystem(passwords ...string) *system {
	s := &system{accepted: map[string]bool{}}
	for _, p := range passwords {
		s.accepted[p] = true
	}
	return s
}

func (s *system) call(ctx context.Context, name string, do func() error) error {
	s.mu.Lock()
	s.runs = slices.Compact(append(s.runs, rotator.Run(ctx)))
	s.calls = append(s.calls, name)
	s.active++
	s.overlapped = s.overlapped || s.active > 1
	before := s.before
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.active--
	}()
	if before != nil {
		if err := before(name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return do()
}

// Create implements rotator.Rotator, as do the others.
func (s *system) Create(ctx context.Context, current rotator.Credential) (next rotator.Credential, err error) {
	err = s.call(ctx, "create", func() error {
		s.made++
		next = maps.Clone(current)
		next["password"] = fmt.Sprintf("password-%d-of-the-system", s.made)
		return nil
	})
	return next, err
}

func (s *system) Set(ctx context.Context, _, next rotator.Credential) error {
	return s.call(ctx, "set", func() error {
		if s.alone {
			clear(s.accepted)
		}
		s.accepted[next["password"]] = true
		return nil
	})
}

func (s *system) Test(ctx context.Context, next rotator.Credential) error {
	return s.call(ctx, "test", func() error {
		if !s.accepted[next["password"]] {
			return errors.New("the password is not accepted")
		}
		return nil
	})
}

func (s *system) Finish(ctx context.Context, previous, _ rotator.Credential) error {
	return s.call(ctx, "finish", func() error { delete(s.accepted, previous["password"]); return nil })
}

func (s *system) Revoke(ctx context.Context, current, next rotator.Credential) error {
	return s.call(ctx, "revoke", func() error {
		s.accepted[current["password"]] = true
		delete(s.accepted, next["password"])
		return nil
	})
}

// Overlaps implements rotator.Overlapper.
func (s *system) Overlaps() bool { return !s.alone }

func (s *system) accepts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.accepted))
}

// newest is the password that was made last.
func (s *system) newest() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("password-%d-of-the-system", s.made)
}

func (s *system) called() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// readers are consumers of a path, which have what it says when move is called.
type readers struct {
	mu   sync.Mutex
	have map[string]int64 // by name
	// counted is called after each count, when it is not nil.
	counted func(total, moved int)
}

func (r *readers) Consumers(_ context.Context, _ secret.Path, version int64) (total, moved int, err error) {
	r.mu.Lock()
	for _, has := range r.have {
		total++
		if has == version {
			moved++
		}
	}
	counted := r.counted
	r.mu.Unlock()
	if counted != nil {
		counted(total, moved)
	}
	return total, moved, nil
}

func (r *readers) ConsumersBack(ctx context.Context, path secret.Path, version int64) (total, moved int, err error) {
	return r.Consumers(ctx, path, version)
}

func (r *readers) move(version int64, names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.have == nil {
		r.have = map[string]int64{}
	}
	for _, name := range names {
		r.have[name] = version
	}
}

// suite is a vault with one path that is rotated.
type suite struct {
	*vaulttest.Env
	t       *testing.T
	path    secret.Path
	system  *system
	readers *readers
	as      secret.Caller
}

const thePath, oldPassword = "production/payments/database", "password-0-of-the-system"

func start(t *testing.T, config vaulttest.Config, change ...func(*rotation.Definition)) *suite {
	t.Helper()
	config.NoRedis = true
	s := &suite{Env: vaulttest.StartWith(t, config), t: t, path: vaulttest.Path(t, thePath), system: newSystem(oldPassword), readers: &readers{}}
	d := definition(thePath)
	s.as = d.As.Caller("default", "")
	s.AllowAll(t, s.as, "production/**")
	s.Put(t, thePath, `{"user":"app","password":"`+oldPassword+`"}`)
	for _, c := range change {
		c(&d)
	}
	s.define(d)
	return s
}

func definition(path string) rotation.Definition {
	return rotation.Definition{
		Name: path, As: rotation.Identity{Namespace: "payments", ServiceAccount: "rotator"},
		Spec: rotation.Spec{Path: path, Method: rotation.Method{Kind: "system"}, Consumed: rotation.Consumed{Grace: new(model.Duration(0))}},
	}
}

func (s *suite) define(definitions ...rotation.Definition) {
	s.t.Helper()
	if _, err := s.Engine.ReplaceRotations(s.t.Context(), "default", definitions); err != nil {
		s.t.Fatal(err)
	}
}

// ask has the rotation begin.
func (s *suite) ask(revokeOld bool) rotation.Run {
	s.t.Helper()
	run, err := s.Engine.RunRotation(s.t.Context(), s.Admin, s.path, rotation.Request{RevokeOld: revokeOld})
	if err != nil {
		s.t.Fatal(err)
	}
	return run
}

// runner is one on a vault, with a pace for tests.
func (s *suite) runner(v runner.Vault) *runner.Runner {
	return &runner.Runner{
		Vault: v, Consumers: s.readers, Logger: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
		Rotators: func(context.Context, rotation.Method, runner.Reader) (rotator.Rotator, error) { return s.system, nil },
		Pace:     rotation.Pace{Poll: 20 * time.Millisecond, Retry: 10 * time.Millisecond, Longest: 50 * time.Millisecond},
		Look:     10 * time.Millisecond, Plan: 10 * time.Millisecond, Lease: within,
	}
}

// run runs a runner until the returned function is called, or the test ends.
func (s *suite) run(r *runner.Runner) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	end = func() { cancel(); <-ended }
	s.t.Cleanup(end)
	return end
}

// show is the newest run with its steps.
func (s *suite) show() (rotation.Run, []vault.RotationStep) {
	s.t.Helper()
	_, history, err := s.Engine.ShowRotation(s.t.Context(), s.Admin, s.path)
	if err != nil || len(history) == 0 {
		s.t.Fatalf("%d runs, %v", len(history), err)
	}
	return history[0].Run, history[0].Steps
}

// until waits for the newest run to be as ok says.
func (s *suite) until(what string, ok func(rotation.Run) bool) rotation.Run {
	s.t.Helper()
	deadline := time.After(within)
	for {
		run, steps := s.show()
		if ok(run) {
			return run
		}
		select {
		case <-deadline:
			s.t.Fatalf("waited for %s: it is %+v after %+v; the system did %v and accepts %v", what, run, steps, s.system.called(), s.system.accepts())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *suite) reaches(state rotation.State) rotation.Run {
	s.t.Helper()
	return s.until(string(state), func(r rotation.Run) bool { return r.State == state })
}

// want is what the path and the system have in the end.
func (s *suite) want(version int64, password string) {
	s.t.Helper()
	found, err := s.Engine.Read(s.t.Context(), s.Admin, secret.Ref{Path: s.path})
	if err != nil {
		s.t.Fatal(err)
	}
	var value map[string]string
	if err := json.Unmarshal(found.Value.Bytes(), &value); err != nil {
		s.t.Fatal(err)
	}
	if found.Version != version || value["password"] != password || value["user"] != "app" {
		s.t.Errorf("version %d is current, and has %d properties; want version %d", found.Version, len(value), version)
	}
	if accepts := s.system.accepts(); !slices.Equal(accepts, []string{password}) {
		s.t.Errorf("the system accepts %v, want %s", accepts, password)
	}
}

// states are those of the steps, each once.
func states(steps []vault.RotationStep) (found []rotation.State) {
	for _, s := range steps {
		found = append(found, s.State)
	}
	return slices.Compact(found)
}
