package vault_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// leaked has the run begin that waits for nobody.
func (r *rotating) leaked() {
	r.t.Helper()
	_, err := r.Engine.RunRotation(r.t.Context(), r.Admin, path("p/one"), rotation.Request{RevokeOld: true})
	must(r.t, err)
}

// turned is the run that waits for nobody, when version 2 is current.
func (r *rotating) turned() *vault.RotationClaim {
	r.t.Helper()
	r.leaked()
	c := r.claim()
	r.advance(c, rotation.Outcome{From: 1}, rotation.Outcome{}, rotation.Outcome{}, rotation.Outcome{})
	return c
}

// retires is the run, when the system is to be told.
func (r *rotating) retires() *vault.RotationClaim {
	r.t.Helper()
	c := r.turned()
	r.advance(c, rotation.Outcome{Total: 1})
	if c.Run.State != rotation.Retiring {
		r.t.Fatalf("it is %s", c.Run.State)
	}
	return c
}

// former is the state of version 1.
func (r *rotating) former(want secret.State) {
	r.t.Helper()
	versions, err := r.Engine.Versions(r.t.Context(), r.Admin, path("p/one"))
	must(r.t, err)
	if got := versions[len(versions)-1]; got.Version != 1 || got.State != want {
		r.t.Errorf("version %d is %s, want version 1, %s", got.Version, got.State, want)
	}
}

func (r *rotating) back(to int64) error {
	_, err := r.Engine.Rollback(r.t.Context(), r.Admin, secret.Ref{Path: path("p/one"), Version: to}, nil)
	return err
}

// saidOfTheStep is the newest audit row of a step.
func (r *rotating) saidOfTheStep() string {
	r.t.Helper()
	return auditRows(r.t, r.Env, `WHERE action = 'rotation-step' ORDER BY id DESC LIMIT 1`)[0].Rule
}

const isRetired = "; version 1 is deleted, since it is retired"

// TestFormerVersionIsDeletedAsItIsRetired: before the system is told, nothing goes back to it any more, and the rotation alone reads it.
func TestFormerVersionIsDeletedAsItIsRetired(t *testing.T) {
	r := startRotating(t, vaulttest.Config{})
	told := follow(t, r.Env, r.Engine, nil)
	c := r.turned()
	told.want(t, "promote p/one 2")
	r.former(secret.Live)
	r.advance(c, rotation.Outcome{Total: 1})
	r.former(secret.Deleted)
	told.want(t, "versions p/one 2")
	if said := r.saidOfTheStep(); !strings.HasSuffix(said, "current to retiring"+isRetired) {
		t.Errorf("the step says %q", said)
	}
	if rows := auditRows(t, r.Env, `WHERE action = 'delete-versions'`); len(rows) != 1 || rows[0].Version != 1 || rows[0].Caller != "payments/rotator" {
		t.Errorf("the deletion is audited as %+v", rows)
	}
	wantError(t, r.back(1), secret.ErrVersionDeleted)
	wantError(t, r.back(0), secret.ErrVersionDeleted) // it is the previous one

	_, err := r.Engine.Read(t.Context(), c.Caller(), secret.Ref{Path: path("p/one"), Version: 1})
	wantError(t, err, secret.ErrVersionDeleted)
	r.readsFormer(c, "v")
	if got := lastAudit(t, r.Env); got.Action != audit.Read || got.Version != 1 || got.Caller != "payments/rotator" || !strings.HasSuffix(got.Rule, "retires it") {
		t.Errorf("audited as %+v", got)
	}
	r.advance(c, rotation.Outcome{})
	if c.Run.State != rotation.Done || strings.Contains(r.saidOfTheStep(), "deleted") {
		t.Errorf("it is %s, %q", c.Run.State, r.saidOfTheStep())
	}
	wantError(t, r.back(1), secret.ErrVersionDeleted)
	_, err = r.Engine.ReadFormer(t.Context(), c)
	wantError(t, err, secret.ErrVersionDeleted)
	must(t, r.Engine.UndeleteVersions(t.Context(), r.Admin, path("p/one"), 1))
	r.former(secret.Live)
}

// readsFormer: the run has the former value.
func (r *rotating) readsFormer(c *vault.RotationClaim, want string) {
	r.t.Helper()
	found, err := r.Engine.ReadFormer(r.t.Context(), c)
	must(r.t, err)
	defer found.Value.Clear()
	if found.Version != 1 || string(found.Value.Bytes()) != want {
		r.t.Errorf("version %d is another than wanted", found.Version)
	}
}

// TestFormerVersionThatIsGone: what somebody did with it stays as it is, and holds nothing up but the system's answer.
func TestFormerVersionThatIsGone(t *testing.T) {
	t.Run("deleted", func(t *testing.T) {
		r := startRotating(t, vaulttest.Config{})
		c := r.turned()
		must(t, r.Engine.DeleteVersions(t.Context(), r.Admin, path("p/one"), 1))
		r.advance(c, rotation.Outcome{Total: 1})
		if said := r.saidOfTheStep(); !strings.HasSuffix(said, "current to retiring") {
			t.Errorf("the step says %q", said)
		}
		r.readsFormer(c, "v")
	})
	t.Run("destroyed", func(t *testing.T) {
		r := startRotating(t, vaulttest.Config{})
		c := r.turned()
		must(t, r.Engine.DestroyVersions(t.Context(), r.Admin, path("p/one"), 1))
		r.advance(c, rotation.Outcome{Total: 1})
		_, err := r.Engine.ReadFormer(t.Context(), c)
		wantError(t, err, secret.ErrVersionDestroyed)
		r.former(secret.Destroyed)
	})
	t.Run("undeleted", func(t *testing.T) { // or the run of an earlier version of Coffer
		r := startRotating(t, vaulttest.Config{})
		c := r.retires()
		must(t, r.Engine.UndeleteVersions(t.Context(), r.Admin, path("p/one"), 1))
		r.advance(c, rotation.Outcome{})
		if said := r.saidOfTheStep(); !strings.HasSuffix(said, "retiring to done"+isRetired) {
			t.Errorf("the step says %q", said)
		}
		r.former(secret.Deleted)
	})
}

// TestOvertakenWhileItIsRetired: a run is never done while another version is current than its own.
func TestOvertakenWhileItIsRetired(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(*rotating)
		why       string
	}{
		"rolled back": {func(r *rotating) {
			must(r.t, r.Engine.UndeleteVersions(r.t.Context(), r.Admin, path("p/one"), 1))
			must(r.t, r.back(1))
		}, "it is 1, whose credential is accepted no more; coffer rollback p/one --to-version 2 goes to the one that is"},
		"written": {func(r *rotating) { r.Put(r.t, "p/one", "by hand") }, "it is 3"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRotating(t, vaulttest.Config{})
			c := r.retires()
			test.meanwhile(r)
			_, err := r.Engine.AdvanceRotation(t.Context(), c, vault.RotationProgress{Pace: rotation.UsualPace(), Lease: time.Minute})
			wantError(t, err, rotation.ErrOvertaken)
			if err == nil || !strings.HasSuffix(err.Error(), test.why) {
				t.Errorf("it fails with %v", err)
			}
			r.advance(c, rotation.Outcome{Err: err})
			if c.Run.State != rotation.Abandoned {
				t.Errorf("it is %s", c.Run.State)
			}
		})
	}
}

// TestOvertakenBeforeItIsRetired: what somebody makes current after the run has looked at the path, and before it retires the former version,
// counts as what it finds there.
func TestOvertakenBeforeItIsRetired(t *testing.T) {
	for name, test := range map[string]struct {
		meanwhile func(*rotating)
		err       error
		state     rotation.State
	}{
		"rolled back": {func(r *rotating) { must(r.t, r.back(1)) }, nil, rotation.Failed},
		"written":     {func(r *rotating) { r.Put(r.t, "p/one", "by hand") }, rotation.ErrOvertaken, rotation.Current},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRotating(t, vaulttest.Config{})
			c := r.turned()
			var asked atomic.Int64
			replica, _ := newEngine(t, r.Env, vault.Config{Clock: func() time.Time {
				if asked.Add(1) == 2 { // it has looked, and is about to lock the path
					test.meanwhile(r)
				}
				return time.Now()
			}})
			p := vault.RotationProgress{Outcome: rotation.Outcome{Total: 1}, Pace: rotation.UsualPace(), Lease: time.Minute}
			_, err := replica.AdvanceRotation(t.Context(), c, p)
			wantError(t, err, test.err)
			if c.Run.State != test.state {
				t.Errorf("it is %s, want %s", c.Run.State, test.state)
			}
			r.former(secret.Live)
		})
	}
}

// TestRetiredTogetherOrNot: the step is of the path and of the run, or of neither.
func TestRetiredTogetherOrNot(t *testing.T) {
	p := vault.RotationProgress{Outcome: rotation.Outcome{Total: 1}, Pace: rotation.UsualPace(), Lease: time.Minute}
	for name, test := range map[string]struct {
		meanwhile func(*rotating, secret.Caller)
		err       error
	}{
		"without the right": {func(r *rotating, account secret.Caller) {
			all, err := policy.ParsePattern("p/**")
			must(r.t, err)
			r.AllowRules(r.t, account.Cluster, policy.Rule{
				Effect: policy.Deny, Paths: []policy.Pattern{all}, Capabilities: []policy.Capability{policy.Rotate},
				Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: account.Namespace, Name: account.Name}}},
			})
		}, secret.ErrDenied},
		"changed": {func(r *rotating, _ secret.Caller) {
			_, err := r.Engine.ApproveRotation(r.t.Context(), r.Admin, path("p/one"))
			must(r.t, err)
		}, vault.ErrRotationLost},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRotating(t, vaulttest.Config{})
			c := r.turned()
			test.meanwhile(r, c.Caller())
			_, err := r.Engine.AdvanceRotation(t.Context(), c, p)
			wantError(t, err, test.err)
			if c.Run.State != rotation.Current {
				t.Errorf("it is %s", c.Run.State)
			}
			r.former(secret.Live)
		})
	}
}
