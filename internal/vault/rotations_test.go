package vault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// also has another cluster rotate the path, too.
func (r *rotating) also(cluster string, change ...func(*rotation.Definition)) {
	r.t.Helper()
	d := rotationOf("p/one")
	for _, ch := range change {
		ch(&d)
	}
	r.AllowAll(r.t, d.As.Caller(cluster, ""), "p/**")
	_, err := r.Engine.ReplaceRotations(r.t.Context(), cluster, []rotation.Definition{d})
	must(r.t, err)
}

// TestOnePathOfTwoClustersIsRotatedOnceEachTime: what one of them has rotated, or is rotating, is not due in the other.
func TestOnePathOfTwoClustersIsRotatedOnceEachTime(t *testing.T) {
	day := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -3)
	clock := &setClock{now: day}
	daily := func(d *rotation.Definition) { d.Schedule.Cron = "0 3 * * *" }
	r := startRotating(t, vaulttest.Config{Clock: clock.Now}, daily)
	r.also("west", daily)
	planned := func(at time.Duration, want int) {
		t.Helper()
		clock.Set(day.Add(at))
		_, err := r.Engine.PlanRotations(t.Context(), nil)
		must(t, err)
		n := 0
		must(t, connect(t, r.Env).QueryRow(t.Context(), `SELECT count(*) FROM rotation_runs`).Scan(&n))
		if n != want {
			t.Errorf("%s after midnight there are %d runs, want %d", at, n, want)
		}
	}
	planned(time.Hour, 0)
	planned(3*time.Hour+time.Minute, 1)
	standing, err := r.Engine.StandingRotations(t.Context(), "west")
	must(t, err)
	if s := standing[0]; !s.Busy || !s.Next.IsZero() || !s.OverdueSince.IsZero() || s.Newest != nil {
		t.Errorf("the other one is %+v", s)
	}
	planned(50*time.Hour, 1) // however long it takes
	clock.Set(day.Add(3*time.Hour + 2*time.Minute))
	r.advance(r.claim(), rotation.Outcome{Err: rotation.ErrOvertaken})
	planned(3*time.Hour+3*time.Minute, 1)
	standing, err = r.Engine.StandingRotations(t.Context(), "west")
	must(t, err)
	if s := standing[0]; s.Busy || !s.Next.Equal(day.Add(27*time.Hour)) {
		t.Errorf("then the other one is %+v", s)
	}
	planned(27*time.Hour+time.Minute, 2)
}

// TestRotationsOfOtherClustersAreTold: who asks from a third cluster has a report, and the runs of all.
func TestRotationsOfOtherClustersAreTold(t *testing.T) {
	r := startRotating(t, vaulttest.Config{})
	r.also("west")
	report := func() vault.LeakReport {
		t.Helper()
		found, err := r.Engine.LeakReport(t.Context(), r.Admin, vault.LeakQuery{Path: path("p/one")})
		must(t, err)
		return found
	}
	if got := report(); got.Rotation != nil || got.RotationProblem != "p/one is rotated by several clusters; ask in one of them: default, west" {
		t.Errorf("rotation %+v, problem %q", got.Rotation, got.RotationProblem)
	}
	_, _, err := r.Engine.ShowRotation(t.Context(), r.Admin, path("p/one"))
	wantError(t, err, secret.ErrInvalid)

	rotator := rotationOf("p/one").As
	west, east := rotator.Caller("west", ""), rotator.Caller("default", "")
	run, err := r.Engine.RunRotation(t.Context(), west, path("p/one"), rotation.Request{})
	must(t, err)
	if got := report(); got.Rotation == nil || got.Rotation.Newest.ID != run.ID || got.RotationProblem != "" {
		t.Errorf("rotation %+v, problem %q", got.Rotation, got.RotationProblem)
	}
	for caller, cluster := range map[*secret.Caller]string{&r.Admin: "west", &west: "west", &east: "default"} {
		status, history, err := r.Engine.ShowRotation(t.Context(), *caller, path("p/one"))
		must(t, err)
		if status.Cluster != cluster || status.Undefined || len(history) != 1 || history[0].Run.ID != run.ID {
			t.Errorf("in %q it shows that of %s, %+v", caller.Cluster, status.Cluster, history)
		}
	}
}

// TestRunOfARotationThatIsDefinedNoMore is seen to its end, and somebody has a say in it.
func TestRunOfARotationThatIsDefinedNoMore(t *testing.T) {
	r := startRotating(t, vaulttest.Config{})
	run := r.ask()
	r.propagates()
	_, err := r.Engine.ReplaceRotations(t.Context(), "default", nil)
	must(t, err)

	seen := func(underWay bool) {
		t.Helper()
		status, history, err := r.Engine.ShowRotation(t.Context(), r.Admin, path("p/one"))
		if err != nil || !status.Undefined || len(history) != 1 || history[0].Run.ID != run.ID {
			t.Errorf("it shows %+v, %+v, %v", status, history, err)
		}
		listed, err := r.Engine.DefinedRotations(t.Context(), r.Admin, secret.Prefix{})
		must(t, err)
		if is := len(listed) == 1 && listed[0].Undefined && listed[0].Newest.ID == run.ID; is != underWay || !is && len(listed) > 0 {
			t.Errorf("it lists %+v", listed)
		}
		report, err := r.Engine.LeakReport(t.Context(), r.Admin, vault.LeakQuery{Path: path("p/one")})
		must(t, err)
		if is := report.Rotation != nil && report.Rotation.Undefined; is != underWay {
			t.Errorf("the report tells of %+v", report.Rotation)
		}
	}
	seen(true)
	if listed, err := r.Engine.DefinedRotations(t.Context(), vaulttest.ServiceAccount("other", "spy", ""), secret.Prefix{}); err != nil || len(listed) > 0 {
		t.Errorf("a stranger is told of %+v, %v", listed, err)
	}
	if standing, err := r.Engine.StandingRotations(t.Context(), "default"); err != nil || len(standing) > 0 {
		t.Errorf("its cluster is told of %+v, %v", standing, err)
	}
	_, err = r.Engine.ApproveRotation(t.Context(), r.Admin, path("p/one"))
	must(t, err)
	r.advance(r.claim(), rotation.Outcome{Total: 1}, rotation.Outcome{})
	seen(false)
	_, err = r.Engine.RunRotation(t.Context(), r.Admin, path("p/one"), rotation.Request{RevokeOld: true})
	wantError(t, err, secret.ErrInvalid)
}

// TestRevokeOldHurriesTheRunUnderWay, where that still goes forth; of another is said what to do.
func TestRevokeOldHurriesTheRunUnderWay(t *testing.T) {
	r := startRotating(t, vaulttest.Config{})
	run := r.ask()
	r.propagates()
	hurried := func() (rotation.Run, error) {
		return r.Engine.RunRotation(t.Context(), r.Admin, path("p/one"), rotation.Request{RevokeOld: true})
	}
	refused := func() {
		t.Helper()
		_, err := hurried()
		wantError(t, err, secret.ErrConflict)
		if !strings.Contains(err.Error(), "coffer leak p/one") {
			t.Errorf("it says %v", err)
		}
		if got := lastAudit(t, r.Env); got.Action != audit.RotationRun || got.Decision != audit.Failed {
			t.Errorf("audited as %+v", got)
		}
	}
	_, err := r.Engine.RunRotation(t.Context(), r.Admin, path("p/one"), rotation.Request{})
	wantError(t, err, secret.ErrConflict)
	got, err := hurried()
	if err != nil || got.ID != run.ID || !got.RevokeOld {
		t.Errorf("it is %+v, %v", got, err)
	}
	if got := lastAudit(t, r.Env); got.Action != audit.RotationRun || got.Decision != audit.Allowed || !strings.Contains(got.Rule, "consumers are waited for no more") {
		t.Errorf("audited as %+v", got)
	}
	c := r.claim()
	r.advance(c, rotation.Outcome{Total: 1})
	if c.Run.State != rotation.Retiring {
		t.Errorf("it waits in %s", c.Run.State)
	}
	r.advance(c, rotation.Outcome{})

	r.ask()
	c = r.claim()
	r.advance(c, rotation.Outcome{From: 2}, rotation.Outcome{}, rotation.Outcome{}, rotation.Outcome{}, rotation.Outcome{Total: 1})
	r.Put(t, "p/one", "by hand")
	refused() // the value by hand is not replaced by it
	r.advance(c, rotation.Outcome{Err: rotation.ErrOvertaken})

	r.ask()
	_, err = r.Engine.CancelRotation(t.Context(), r.Admin, path("p/one"))
	must(t, err)
	refused() // it goes back
	r.advance(r.claim(), rotation.Outcome{}, rotation.Outcome{})
	if planned, err := hurried(); err != nil || planned.State != rotation.Planned || !planned.RevokeOld {
		t.Errorf("it is %+v, %v", planned, err)
	}
}
