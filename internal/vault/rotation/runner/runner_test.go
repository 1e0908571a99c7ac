package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/rotation/runner"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestRotation goes through: the former password is accepted until the last consumer has the new one, and no longer.
func TestRotation(t *testing.T) {
	s := start(t, vaulttest.Config{})
	s.readers.move(1, "one", "two", "three")
	asked := s.ask(false)
	if asked.State != rotation.Planned || asked.By != "user:admin" {
		t.Errorf("asked for: %+v", asked)
	}
	s.run(s.runner(s.Engine))
	s.until("that it propagates", func(r rotation.Run) bool { return r.State == rotation.Propagating && r.Total == 3 })
	s.readers.move(2, "one", "two")
	s.until("two consumers", func(r rotation.Run) bool { return r.Moved == 2 })
	if accepts := s.system.accepts(); len(accepts) != 2 {
		t.Errorf("while consumers move, %v are accepted", accepts)
	}
	s.readers.move(2, "three")
	run := s.reaches(rotation.Done)
	s.want(2, "password-1-of-the-system")
	if run.From != 1 || run.To != 2 || run.Attempts != 0 || run.Problem != "" {
		t.Errorf("it is %+v", run)
	}
	_, steps := s.show()
	want := []rotation.State{
		rotation.Planned, rotation.Created, rotation.Set, rotation.Tested, rotation.Current, rotation.Propagating, rotation.Retiring, rotation.Done,
	}
	if diff := cmp.Diff(want, states(steps)); diff != "" {
		t.Errorf("steps (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"create", "set", "test", "finish"}, s.system.called()); diff != "" {
		t.Errorf("calls (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{run.ID}, s.system.runs); diff != "" {
		t.Errorf("the calls are of these runs (-want +got)\n%s", diff)
	}
	s.auditSays(run.ID, []string{
		"rotation-step: created to set", "rotation-step: planned to created", "rotation-step: propagating to retiring; version 1 is deleted, since it is retired",
		"rotation-step: retiring to done", "promote of version 2", "rotate of version 2",
	})
	s.forgets("the former one", 1)
	s.isRetired(1)
	for _, password := range []string{oldPassword, "password-1-of-the-system"} {
		if leaks := s.Leaks(t, password); len(leaks) > 0 {
			t.Errorf("%s stands in %v", password, leaks)
		}
	}
}

// auditSays that there are rows of a run with these rules or actions.
func (s *suite) auditSays(id string, want []string) {
	s.t.Helper()
	found, _, err := s.Engine.Audit(s.t.Context(), s.Admin, audit.Query{PathPrefix: thePath, Limit: audit.MaxLimit})
	if err != nil {
		s.t.Fatal(err)
	}
	var said []string
	for _, entry := range found {
		if entry.RequestID != id {
			continue
		}
		said = append(said, fmt.Sprintf("%s of version %d", entry.Action, entry.Version), fmt.Sprintf("%s: %s", entry.Action, strings.TrimPrefix(entry.Rule, thePath+": ")))
		if by := entry.Caller; by != "payments/rotator" && by != "system:rotation" {
			s.t.Errorf("%s by %s", entry.Action, by)
		}
	}
	for _, w := range want {
		if !slices.Contains(said, w) {
			s.t.Errorf("the audit log does not say %q, but %q", w, said)
		}
	}
}

// forgets: a rollback that names no version finds none.
func (s *suite) forgets(what string, version int64) {
	s.t.Helper()
	versions, err := s.Engine.Versions(s.t.Context(), s.Admin, s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range versions {
		if v.Version == version && len(v.Labels) > 0 {
			s.t.Errorf("%s has the labels %v", what, v.Labels)
		}
	}
	if _, err := s.Engine.Rollback(s.t.Context(), s.Admin, secret.Ref{Path: s.path}, nil); !errors.Is(err, secret.ErrVersionNotFound) {
		s.t.Errorf("rolled back to %s: %v", what, err)
	}
}

// isRetired: nothing goes back to a version, by its number either.
func (s *suite) isRetired(version int64) {
	s.t.Helper()
	if _, err := s.Engine.Rollback(s.t.Context(), s.Admin, secret.Ref{Path: s.path, Version: version}, nil); !errors.Is(err, secret.ErrVersionDeleted) {
		s.t.Errorf("rolled back to version %d: %v", version, err)
	}
}

// TestFailureBeforeTheSwitch is rolled back, wherever it is: nobody has seen the new password.
func TestFailureBeforeTheSwitch(t *testing.T) {
	for _, call := range []string{"create", "set", "test"} {
		t.Run(call, func(t *testing.T) {
			s := start(t, vaulttest.Config{}, func(d *rotation.Definition) { d.Attempts = 2 })
			s.readers.move(1, "one")
			s.system.before = func(name string) error {
				if name == call {
					return errors.New("no " + name + " for password-1-of-the-system:\nit is not a good one")
				}
				return nil
			}
			s.ask(false)
			s.run(s.runner(s.Engine))
			run := s.reaches(rotation.RolledBack)
			s.want(1, oldPassword)
			if !strings.HasPrefix(run.Reason, call+": no "+call) || run.FailedIn == "" {
				t.Errorf("it is %+v", run)
			}
			if call != "create" {
				s.destroyed(2)
			}
			if n := len(slices.DeleteFunc(s.system.called(), func(c string) bool { return c != call })); n != 2 {
				t.Errorf("%s was tried %d times", call, n)
			}
			if leaks := s.Leaks(t, "password-1-of-the-system"); call != "create" && len(leaks) > 0 {
				t.Errorf("the password of the message stands in %v", leaks)
			}
		})
	}
}

// TestWhatIsTriedAgain: a system that does not answer may do so later, and what somebody has to mend would fail again.
func TestWhatIsTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		tries int
	}{
		"unreachable": {rotator.Unreachable("log in", errors.New("refused")), 3},
		"setup":       {fmt.Errorf("%w: the roles differ", rotator.ErrSetup), 1},
		"rights":      {fmt.Errorf("%w: grant it", rotator.ErrRights), 1},
		"refused":     {fmt.Errorf("%w: 28P01", rotator.ErrRefused), 1},
		"generator":   {fmt.Errorf("%w: too short", generate.ErrSpec), 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, vaulttest.Config{}, func(d *rotation.Definition) { d.Attempts = 3 })
			s.system.before = func(call string) error {
				if call == "set" {
					return test.err
				}
				return nil
			}
			s.ask(false)
			s.run(s.runner(s.Engine))
			s.reaches(rotation.RolledBack)
			if n := len(slices.DeleteFunc(s.system.called(), func(c string) bool { return c != "set" })); n != test.tries {
				t.Errorf("it was tried %d times, want %d", n, test.tries)
			}
		})
	}
}

// TestOneCredentialAtATime: where the system ends the former password as it accepts the new one, who is to go back to it needs the new one to be
// revoked first.
func TestOneCredentialAtATime(t *testing.T) {
	s := start(t, vaulttest.Config{})
	s.system.alone = true
	s.readers.move(1, "one")
	s.ask(false)
	s.run(s.runner(s.Engine))
	s.reaches(rotation.Propagating)
	s.readers.move(2, "one")
	if err := s.Engine.FailRotation(t.Context(), s.path, 2, "the pods of payments/api do not come up"); err != nil {
		t.Fatal(err)
	}
	s.reaches(rotation.RolledBack) // though the consumer has not gone back
	s.want(1, oldPassword)
	_, steps := s.show()
	if i := slices.IndexFunc(steps, func(s vault.RotationStep) bool { return s.State == rotation.Set }); steps[i].Detail != "the former credential is accepted no more" {
		t.Errorf("the step says %q", steps[i].Detail)
	}
}

// renewer knows when a credential ends by its property.
type renewer struct{}

func (renewer) RenewAt(current rotator.Credential) (time.Time, bool, error) {
	at, err := time.Parse(time.RFC3339, current["renewAt"])
	if err != nil {
		return time.Time{}, false, fmt.Errorf("%w: %s is no time", rotator.ErrSetup, current["renewAt"])
	}
	return at, true, nil
}

// TestCredentialThatEnds is renewed before that, though nothing is scheduled.
func TestCredentialThatEnds(t *testing.T) {
	s := start(t, vaulttest.Config{})
	r := s.runner(s.Engine)
	r.Renewers = func(rotation.Method) (rotator.Renewer, error) { return renewer{}, nil }
	s.Put(t, thePath, `{"user":"app","password":"`+oldPassword+`","renewAt":"of-the-owner"}`)
	ends := func(version int64) (time.Time, bool, error) {
		return r.Ends(t.Context(), vault.RotatedCredential{Cluster: "default", Definition: definition(thePath), Version: version})
	}
	if _, _, err := ends(2); err == nil || strings.Contains(err.Error(), "of-the-owner") {
		t.Errorf("of a credential that cannot be read it says %v", err)
	}
	if _, _, err := ends(1); err == nil {
		t.Error("a version without a time has an end")
	}
	due := time.Now().Add(-time.Minute).UTC().Truncate(time.Second)
	s.Put(t, thePath, `{"user":"app","password":"`+oldPassword+`","renewAt":"`+due.Format(time.RFC3339)+`"}`)
	if _, err := s.Engine.PlanRotations(t.Context(), r.Ends); err != nil {
		t.Fatal(err)
	}
	s.run(r)
	run := s.until("that it is renewed", func(r rotation.Run) bool { return r.State == rotation.Done })
	if run.Cause != rotation.BySchedule || !run.DueAt.Equal(due) || run.From != 3 {
		t.Errorf("it is %+v", run)
	}
}

// destroyed: a version that is revoked cannot come back.
func (s *suite) destroyed(version int64) {
	s.t.Helper()
	found, err := s.Engine.Versions(s.t.Context(), s.Admin, s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, v := range found {
		if v.Version == version && (v.State != secret.Destroyed || len(v.Labels) > 0) {
			s.t.Errorf("version %d is %s and has the labels %v", version, v.State, v.Labels)
		}
	}
}

// TestFailureAfterTheSwitch is rolled back: the operator says that consumers do not come up, or somebody cancels. The new password is
// revoked when nobody has it any more.
func TestFailureAfterTheSwitch(t *testing.T) {
	for name, stop := range map[string]func(*suite) error{
		"failed": func(s *suite) error {
			return s.Engine.FailRotation(s.t.Context(), s.path, 2, "the pods of payments/api do not come up")
		},
		"cancelled": func(s *suite) error {
			_, err := s.Engine.CancelRotation(s.t.Context(), s.Admin, s.path)
			return err
		},
		"rolled back by hand": func(s *suite) error {
			_, err := s.Engine.Rollback(s.t.Context(), s.Admin, secret.Ref{Path: s.path}, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, vaulttest.Config{})
			s.readers.move(1, "one", "two")
			s.ask(false)
			s.run(s.runner(s.Engine))
			s.reaches(rotation.Propagating)
			s.readers.move(2, "one")
			s.until("one consumer", func(r rotation.Run) bool { return r.Moved == 1 })
			if err := stop(s); err != nil {
				t.Fatal(err)
			}
			s.until("that it is withdrawn", func(r rotation.Run) bool { return r.State == rotation.Withdrawing && r.Moved == 1 })
			if accepts := s.system.accepts(); len(accepts) != 2 {
				t.Errorf("while consumers move back, %v are accepted", accepts)
			}
			s.readers.move(1, "one")
			run := s.reaches(rotation.RolledBack)
			s.want(1, oldPassword)
			s.destroyed(2)
			if run.Reason == "" || run.FailedIn != rotation.Propagating {
				t.Errorf("it is %+v", run)
			}
		})
	}
}

// TestHeldAfterFailure: nothing is done until somebody approves, and then it goes on where it failed.
func TestHeldAfterFailure(t *testing.T) {
	s := start(t, vaulttest.Config{}, func(d *rotation.Definition) { d.Failure, d.Attempts = rotation.Hold, 1 })
	s.system.before = func(name string) error {
		if name == "test" {
			return errors.New("not now")
		}
		return nil
	}
	s.ask(false)
	s.run(s.runner(s.Engine))
	s.until("that it is held", func(r rotation.Run) bool { return r.Held() })
	s.system.mu.Lock()
	s.system.before = nil
	s.system.mu.Unlock()
	if _, err := s.Engine.ApproveRotation(t.Context(), s.Admin, s.path); err != nil {
		t.Fatal(err)
	}
	s.reaches(rotation.Done)
	s.want(2, "password-1-of-the-system")
	if slices.Contains(s.system.called(), "revoke") {
		t.Error("it was rolled back meanwhile")
	}
}

// TestConsumerThatNeverAcknowledges: the former password stays accepted until the owner says something, or as long as the owner said.
func TestConsumerThatNeverAcknowledges(t *testing.T) {
	brief := func(d *rotation.Definition) { d.Consumed.Wait = model.Duration(time.Millisecond) }
	t.Run("asks", func(t *testing.T) {
		s := start(t, vaulttest.Config{}, brief)
		s.readers.move(1, "stuck")
		s.ask(false)
		s.run(s.runner(s.Engine))
		asked := s.until("that it asks", func(r rotation.Run) bool { return r.Asked })
		if !strings.Contains(asked.WaitsFor(), "0 of 1 consumers have the version that is current; approve") {
			t.Errorf("it waits for: %s", asked.WaitsFor())
		}
		if accepts := s.system.accepts(); len(accepts) != 2 {
			t.Errorf("accepted are %v", accepts)
		}
		if _, err := s.Engine.ApproveRotation(t.Context(), s.Admin, s.path); err != nil {
			t.Fatal(err)
		}
		s.reaches(rotation.Done)
		s.want(2, "password-1-of-the-system")
		_, err := s.Engine.ApproveRotation(t.Context(), s.Admin, s.path)
		if !errors.Is(err, secret.ErrConflict) {
			t.Errorf("approved when it is done: %v", err)
		}
	})
	t.Run("proceeds", func(t *testing.T) {
		s := start(t, vaulttest.Config{}, brief, func(d *rotation.Definition) { d.Consumed.Then = rotation.Proceed })
		s.readers.move(1, "stuck")
		s.ask(false)
		s.run(s.runner(s.Engine))
		s.reaches(rotation.Done)
		s.want(2, "password-1-of-the-system")
	})
	t.Run("leaked", func(t *testing.T) {
		s := start(t, vaulttest.Config{})
		s.readers.move(1, "stuck")
		s.ask(true)
		s.run(s.runner(s.Engine))
		s.reaches(rotation.Done)
		s.want(2, "password-1-of-the-system")
	})
}

// TestOvertaken: a password that somebody else has written is left alone, whatever of the rotation is done.
func TestOvertaken(t *testing.T) {
	for name, test := range map[string]struct {
		call  string
		fails bool // so that it is to be revoked
		did   []string
	}{
		"set": {"set", false, nil}, "test": {"test", false, nil}, "test that fails": {"test", true, nil}, "finish": {"finish", false, []string{"finish"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, vaulttest.Config{}, func(d *rotation.Definition) { d.Attempts = 1 })
			s.system.before = func(name string) error {
				if name != test.call {
					return nil
				}
				s.Put(t, thePath, `{"user":"app","password":"by hand"}`)
				if test.fails {
					return errors.New("not now")
				}
				return nil
			}
			s.ask(false)
			s.run(s.runner(s.Engine))
			run := s.reaches(rotation.Abandoned)
			if !strings.Contains(run.Reason, "somebody else changed the path's current version: it is 3") {
				t.Errorf("it is %+v", run)
			}
			ends := slices.DeleteFunc(s.system.called(), func(call string) bool { return call != "revoke" && call != "finish" })
			if diff := cmp.Diff(test.did, ends, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("the system did (-want +got)\n%s", diff)
			}
			s.ask(false) // the path is free for another
		})
	}
}

// TestRightsOfARotation are those of its service account: without them nothing is made, and a run under way waits.
func TestRightsOfARotation(t *testing.T) {
	s := start(t, vaulttest.Config{}, func(d *rotation.Definition) { d.As.ServiceAccount, d.Attempts = "stranger", 1 })
	s.ask(false)
	s.run(s.runner(s.Engine))
	run := s.reaches(rotation.RolledBack)
	if !strings.Contains(run.Reason, secret.ErrDenied.Error()) {
		t.Errorf("it is %+v", run)
	}
	s.want(1, oldPassword)
	stranger := vaulttest.ServiceAccount("web", "front", "")
	s.Sync(t, stranger.Cluster)
	for name, ask := range map[string]func() error{
		"run": func() error {
			_, err := s.Engine.RunRotation(t.Context(), stranger, s.path, rotation.Request{})
			return err
		},
		"approve": func() error { _, err := s.Engine.ApproveRotation(t.Context(), stranger, s.path); return err },
		"cancel":  func() error { _, err := s.Engine.CancelRotation(t.Context(), stranger, s.path); return err },
		"show":    func() error { _, _, err := s.Engine.ShowRotation(t.Context(), stranger, s.path); return err },
		"no path": func() error {
			_, err := s.Engine.RunRotation(t.Context(), s.Admin, vaulttest.Path(t, "no/path"), rotation.Request{})
			return err
		},
	} {
		if err := ask(); !errors.Is(err, secret.ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	shown, err := s.Engine.DefinedRotations(t.Context(), stranger, secret.Prefix{})
	if err != nil || len(shown) != 0 {
		t.Errorf("%d rotations, %v", len(shown), err)
	}
	if shown, err = s.Engine.DefinedRotations(t.Context(), s.Admin, secret.Prefix{}); err != nil || len(shown) != 1 {
		t.Errorf("%d rotations, %v", len(shown), err)
	}
}

// TestRawValue: a value without properties stays one.
func TestRawValue(t *testing.T) {
	s := start(t, vaulttest.Config{})
	s.Put(t, thePath, "not an object")
	r := s.runner(s.Engine)
	r.Rotators = func(context.Context, rotation.Method, runner.Reader) (rotator.Rotator, error) {
		return generator{}, nil
	}
	s.ask(false)
	s.run(r)
	s.reaches(rotation.Done)
	found, err := s.Engine.Read(t.Context(), s.Admin, secret.Ref{Path: s.path})
	if err != nil || string(found.Value.Bytes()) != "not an object, anew" {
		t.Errorf("%d bytes, %v", found.Value.Len(), err)
	}
}

// generator makes a value that no system has to know.
type generator struct{}

func (generator) Create(_ context.Context, current rotator.Credential) (rotator.Credential, error) {
	return rotator.Credential{secret.RawKey: current[secret.RawKey] + ", anew"}, nil
}
func (generator) Set(context.Context, rotator.Credential, rotator.Credential) error    { return nil }
func (generator) Test(context.Context, rotator.Credential) error                       { return nil }
func (generator) Finish(context.Context, rotator.Credential, rotator.Credential) error { return nil }
func (generator) Revoke(context.Context, rotator.Credential, rotator.Credential) error { return nil }

// TestRotatorThatPanics fails its rotation, and nothing else.
func TestRotatorThatPanics(t *testing.T) {
	s := start(t, vaulttest.Config{})
	s.system.before = func(name string) error {
		if name == "set" {
			panic("password-1-of-the-system")
		}
		return nil
	}
	s.ask(false)
	s.run(s.runner(s.Engine))
	if run := s.reaches(rotation.RolledBack); !strings.Contains(run.Reason, "the rotator panicked") {
		t.Errorf("it is %+v", run)
	}
	s.want(1, oldPassword)
}
