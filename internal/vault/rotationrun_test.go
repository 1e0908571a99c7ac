package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	prom "github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// rotating is a vault with a path whose rotation is under way by hand.
type rotating struct {
	*vaulttest.Env
	t *testing.T
}

// startRotating has the rotation of p/one planned.
func startRotating(t *testing.T, c vaulttest.Config, change ...func(*rotation.Definition)) *rotating {
	t.Helper()
	c.NoRedis = true
	r := &rotating{vaulttest.StartWith(t, c), t}
	r.Put(t, "p/one", "v")
	d := rotationOf("p/one")
	for _, ch := range change {
		ch(&d)
	}
	r.AllowAll(t, d.As.Caller("default", ""), "p/**")
	_, err := r.Engine.ReplaceRotations(t.Context(), "default", []rotation.Definition{d})
	must(t, err)
	return r
}

func (r *rotating) ask() rotation.Run {
	r.t.Helper()
	run, err := r.Engine.RunRotation(r.t.Context(), r.Admin, path("p/one"), rotation.Request{})
	must(r.t, err)
	return run
}

// claim takes the run, which is to be there.
func (r *rotating) claim() *vault.RotationClaim {
	r.t.Helper()
	c, err := r.Engine.ClaimRotation(r.t.Context(), time.Minute)
	if err != nil || c == nil {
		r.t.Fatalf("nothing to be taken: %v", err)
	}
	return c
}

// advance says how the next actions went.
func (r *rotating) advance(c *vault.RotationClaim, outcomes ...rotation.Outcome) {
	r.t.Helper()
	for _, o := range outcomes {
		p := vault.RotationProgress{Outcome: o, Pace: rotation.UsualPace(), Lease: time.Minute}
		if c.Run.Next() == rotation.Create && o.Err == nil {
			p.Value = vaulttest.Value(r.t, "w")
		}
		_, err := r.Engine.AdvanceRotation(r.t.Context(), c, p)
		must(r.t, err)
	}
}

// propagates has the run wait for its only consumer.
func (r *rotating) propagates() {
	r.t.Helper()
	r.advance(r.claim(), rotation.Outcome{From: 1}, rotation.Outcome{}, rotation.Outcome{}, rotation.Outcome{}, rotation.Outcome{Total: 1})
}

// TestRunIsClaimedBesideAnApproval: who takes a run that is changed at that moment has it with its newest step, and believes it.
func TestRunIsClaimedBesideAnApproval(t *testing.T) {
	r := startRotating(t, vaulttest.Config{})
	r.ask()
	r.propagates()
	const approvals = 150
	_, err := r.Engine.ApproveRotation(t.Context(), r.Admin, path("p/one")) // so that it is to be looked at
	must(t, err)
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		defer close(done)
		for range approvals {
			if _, err := r.Engine.ApproveRotation(t.Context(), r.Admin, path("p/one")); err != nil {
				t.Errorf("approve: %v", err)
				return
			}
		}
	})
	var mu sync.Mutex
	claims := 0
	for range 3 {
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, err := r.Engine.ClaimRotation(t.Context(), time.Minute)
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				if c == nil {
					continue
				}
				if err := r.Engine.ReleaseRotation(t.Context(), c, 0); err != nil {
					t.Errorf("release: %v", err)
				}
				mu.Lock()
				claims++
				mu.Unlock()
			}
		})
	}
	work.Wait()
	found, _, err := r.Engine.Audit(t.Context(), r.Admin, audit.Query{PathPrefix: "p/one", Action: audit.RotationStep, Decision: audit.Failed})
	must(t, err)
	if len(found) > 0 || claims == 0 {
		t.Errorf("of %d claims %d were not believed: %+v", claims, len(found), found)
	}
	r.advance(r.claim(), rotation.Outcome{Total: 1})
}

// TestRunOfALaterForm is left to replicas that know it: nothing is said against it, nothing is done with it, and nothing else is planned.
func TestRunOfALaterForm(t *testing.T) {
	clock := &setClock{now: time.Now().Add(-time.Hour)}
	r := startRotating(t, vaulttest.Config{Clock: clock.Now}, func(d *rotation.Definition) { d.Schedule.Every = prom.Duration(time.Minute) })
	r.ask()
	clock.Set(time.Now()) // it is due
	later := func(record []byte) []byte { return bytes.Replace(record, []byte(`{`), []byte(`{"later":1,`), 1) }
	must(t, vault.RewriteRun(t.Context(), r.Engine, "p/one", later))
	for range 2 {
		claimed, err := r.Engine.ClaimRotation(t.Context(), time.Minute)
		if claimed != nil || err != nil {
			t.Errorf("it is taken: %v", err)
		}
	}
	if got := lastAudit(t, r.Env); got.Decision == audit.Failed {
		t.Errorf("audited as %+v", got)
	}
	_, _, err := r.Engine.ShowRotation(t.Context(), r.Admin, path("p/one"))
	wantError(t, err, secret.ErrUnavailable)
	_, err = r.Engine.CancelRotation(t.Context(), r.Admin, path("p/one"))
	wantError(t, err, secret.ErrUnavailable)
	_, err = r.Engine.PlanRotations(t.Context(), nil)
	must(t, err)
	standing, err := r.Engine.DefinedRotations(t.Context(), r.Admin, secret.Prefix{})
	must(t, err)
	if len(standing) != 1 || standing[0].Newest != nil || !standing[0].Next.IsZero() {
		t.Errorf("it stands as %+v", standing)
	}
}

// TestRunReleasedAfterAChange is looked at again at once, since somebody wants something of it, and else after the wait.
func TestRunReleasedAfterAChange(t *testing.T) {
	r := startRotating(t, vaulttest.Config{})
	r.ask()
	must(t, r.Engine.ReleaseRotation(t.Context(), r.claim(), 0))
	changed := r.claim()
	_, err := r.Engine.CancelRotation(t.Context(), r.Admin, path("p/one"))
	must(t, err)
	must(t, r.Engine.ReleaseRotation(t.Context(), changed, time.Hour))
	asItWas := r.claim()
	if asItWas.Run.Stop == "" {
		t.Errorf("it is %+v", asItWas.Run)
	}
	must(t, r.Engine.ReleaseRotation(t.Context(), asItWas, time.Hour))
	if again, err := r.Engine.ClaimRotation(t.Context(), time.Minute); err != nil || again != nil {
		t.Errorf("it is looked at before its time: %v", err)
	}
}

// TestRunByAnEvent says what asked for it.
func TestRunByAnEvent(t *testing.T) {
	r := startRotating(t, vaulttest.Config{})
	run, err := r.Engine.RunRotation(t.Context(), r.Admin, path("p/one"), rotation.Request{Event: "the annotation of the VaultRotation one"})
	must(t, err)
	if run.Cause != rotation.ByEvent || run.By != "the annotation of the VaultRotation one" {
		t.Errorf("it is by %s of %s", run.Cause, run.By)
	}
	if got := lastAudit(t, r.Env); got.Action != audit.RotationRun || got.Caller != "user:admin" {
		t.Errorf("audited as %+v", got)
	}
	_, err = r.Engine.RunRotation(t.Context(), r.Admin, path("p/one"), rotation.Request{Event: string(bytes.Repeat([]byte("x"), 1025))})
	wantError(t, err, secret.ErrInvalid)
}

// abandons plans a run, and ends it.
func (r *rotating) abandons() {
	r.t.Helper()
	r.ask()
	r.advance(r.claim(), rotation.Outcome{Err: rotation.ErrOvertaken})
}

// TestOldRunsAreRemoved: of the last year the newest hundred are kept, and of before the newest ten.
func TestOldRunsAreRemoved(t *testing.T) {
	now := time.Now()
	clock := &setClock{now: now.AddDate(0, 0, -400)}
	r := startRotating(t, vaulttest.Config{Clock: clock.Now})
	runs := func() (n int) {
		t.Helper()
		steps := 0
		must(t, connect(t, r.Env).QueryRow(t.Context(), `SELECT count(*), (SELECT count(*) FROM rotation_steps) FROM rotation_runs`).Scan(&n, &steps))
		if steps != 2*n {
			t.Errorf("%d runs have %d steps", n, steps)
		}
		return n
	}
	const all = 103
	for i := range all {
		clock.Set(now.AddDate(0, 0, -400).Add(time.Duration(i) * time.Second))
		r.abandons()
	}
	must(t, r.Engine.RemoveOldRuns(t.Context()))
	if got := runs(); got != 100 {
		t.Errorf("%d runs are kept, want 100", got)
	}
	clock.Set(now.AddDate(0, 0, -1))
	r.abandons()
	clock.Set(now.AddDate(5, 0, 0)) // a clock that is wrong costs nothing: the database's counts too
	must(t, r.Engine.RemoveOldRuns(t.Context()))
	if got := runs(); got != 10 {
		t.Errorf("%d runs are kept, want 10", got)
	}
	_, history, err := r.Engine.ShowRotation(t.Context(), r.Admin, path("p/one"))
	if err != nil || len(history) != 10 {
		t.Errorf("%d runs are shown, %v", len(history), err)
	}
}

// TestRotationsAreCounted: the metrics say how rotations stand.
func TestRotationsAreCounted(t *testing.T) {
	r := startRotating(t, vaulttest.Config{}, func(d *rotation.Definition) { d.Consumed.Grace = new(prom.Duration(0)) })
	registry := prometheus.NewRegistry()
	r.Engine, _ = newEngine(t, r.Env, vault.Config{Registerer: registry})
	say := func(want string, names ...string) {
		t.Helper()
		_, err := r.Engine.PlanRotations(t.Context(), nil)
		must(t, err)
		if err := testutil.GatherAndCompare(registry, bytes.NewReader([]byte(want)), names...); err != nil {
			t.Error(err)
		}
	}
	states := func(state string) (text string) {
		text = "# HELP coffer_rotations Rotations that are defined, by the state of their newest run; none when there was no run.\n# TYPE coffer_rotations gauge\n"
		for _, s := range append(rotation.States(), "none") {
			n := 0
			if string(s) == state {
				n = 1
			}
			text += fmt.Sprintf("coffer_rotations{state=%q} %d\n", s, n)
		}
		return text
	}
	say(states("none"), "coffer_rotations")
	r.ask()
	r.propagates()
	say(states("propagating"), "coffer_rotations")
	must(t, r.Engine.FailRotation(t.Context(), path("p/one"), 2, "the pods do not come up"))
	c := r.claim()
	r.advance(c, rotation.Outcome{}, rotation.Outcome{}, rotation.Outcome{Total: 1, Moved: 1})
	r.advance(c, rotation.Outcome{Err: errors.New("it does not answer")})
	say(states("revoking"), "coffer_rotations")
	if got := gathered(t, registry, "coffer_rotation_failed_attempts", "revoking"); got != 1 {
		t.Errorf("failed %v times", got)
	}
	_, err := r.Engine.CancelRotation(t.Context(), r.Admin, path("p/one"))
	must(t, err)
	say(states("abandoned"), "coffer_rotations")
	if got := gathered(t, registry, "coffer_rotation_runs_total", "abandoned"); got != 1 {
		t.Errorf("%v runs ended", got)
	}
}

// TestOverdueRotation: a rotation is overdue from when it was due until it is done, also when its run failed, but while one is under way.
func TestOverdueRotation(t *testing.T) {
	begin := time.Now().Add(-100 * time.Hour)
	clock := &setClock{now: begin}
	r := startRotating(t, vaulttest.Config{Clock: clock.Now}, func(d *rotation.Definition) { d.Schedule.Every = prom.Duration(24 * time.Hour) })
	overdue := func(want time.Duration) {
		t.Helper()
		standing, err := r.Engine.DefinedRotations(t.Context(), r.Admin, secret.Prefix{})
		must(t, err)
		got := time.Duration(0)
		if since := standing[0].OverdueSince; !since.IsZero() {
			got = clock.Now().Sub(since).Round(time.Second)
		}
		if got != want {
			t.Errorf("overdue by %s, want %s", got, want)
		}
	}
	overdue(0)
	clock.Set(begin.Add(26 * time.Hour))
	overdue(2 * time.Hour)
	_, err := r.Engine.PlanRotations(t.Context(), nil)
	must(t, err)
	overdue(0)                                                                                                // it is under way
	r.advance(r.claim(), rotation.Outcome{Err: errors.New("no rights"), Permanent: true}, rotation.Outcome{}) // rolled back
	clock.Set(begin.Add(28 * time.Hour))
	overdue(4 * time.Hour)
	clock.Set(begin.Add(60 * time.Hour))
	_, err = r.Engine.PlanRotations(t.Context(), nil)
	must(t, err)
	r.advance(r.claim(), rotation.Outcome{Err: errors.New("no rights"), Permanent: true}, rotation.Outcome{})
	overdue(36 * time.Hour) // a second run that failed does not begin anew
	clock.Set(begin.Add(61 * time.Hour))
	r.Put(t, "p/one", "by hand")
	overdue(0)
}

// TestRenewal: a credential that ends by itself is due before its end, and again an hour after a run that failed.
func TestRenewal(t *testing.T) {
	begin := time.Now().Add(-1000 * time.Hour).Truncate(time.Second)
	clock := &setClock{now: begin}
	r := startRotating(t, vaulttest.Config{Clock: clock.Now}, func(d *rotation.Definition) { d.Schedule.Every = prom.Duration(1000 * time.Hour) })
	renewAt := begin.Add(10 * time.Hour)
	asked := map[int64]int{}
	away := true
	ends := func(_ context.Context, c vault.RotatedCredential) (time.Time, bool, error) {
		asked[c.Version]++
		if away {
			return time.Time{}, false, errors.New("away")
		}
		return renewAt, c.Version == 1, nil
	}
	plans := func(want time.Duration) {
		t.Helper()
		next, err := r.Engine.PlanRotations(t.Context(), ends)
		must(t, err)
		if got := next.Sub(begin).Round(time.Second); got != want {
			t.Errorf("the next is due after %s, want %s", got, want)
		}
	}
	plans(1000 * time.Hour)
	plans(1000 * time.Hour) // it is not asked again at once
	away = false
	clock.Set(begin.Add(time.Hour))
	plans(10 * time.Hour)
	plans(10 * time.Hour)
	if asked[1] != 2 {
		t.Errorf("asked %d times", asked[1])
	}
	standing, err := r.Engine.DefinedRotations(t.Context(), r.Admin, secret.Prefix{})
	must(t, err)
	if !standing[0].Next.Equal(renewAt) {
		t.Errorf("shown as due at %s", standing[0].Next)
	}
	clock.Set(begin.Add(11 * time.Hour))
	_, err = r.Engine.PlanRotations(t.Context(), ends)
	must(t, err)
	r.advance(r.claim(), rotation.Outcome{Err: errors.New("no rights"), Permanent: true}, rotation.Outcome{}) // rolled back
	plans(12 * time.Hour)
	clock.Set(begin.Add(12 * time.Hour))
	_, err = r.Engine.PlanRotations(t.Context(), ends)
	must(t, err)
	r.propagates() // version 2 is current
	_, err = r.Engine.PlanRotations(t.Context(), ends)
	must(t, err)
	if asked[2] != 1 {
		t.Errorf("asked %d times about the new one", asked[2])
	}
}

// gathered is the value of a counter or a gauge with one label; 0 when there is none.
func gathered(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
