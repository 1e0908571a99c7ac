package vault_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	prom "github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func rotationOf(path string) rotation.Definition {
	return rotation.Definition{
		Name: "rotation of " + path, As: rotation.Identity{Namespace: "payments", ServiceAccount: "rotator"},
		Spec: rotation.Spec{Path: path, Method: rotation.Method{Kind: "of " + path}},
	}
}

// toldOfRotations is what an administrator is told, a line each.
func toldOfRotations(t *testing.T, e *vault.Engine, admin secret.Caller, paths ...string) (lines []string) {
	t.Helper()
	defined, err := e.DefinedRotations(t.Context(), admin, secret.Prefix{})
	must(t, err)
	for _, d := range defined {
		lines = append(lines, fmt.Sprintf("%s: %+v", d.Cluster, d.Definition))
	}
	for _, p := range paths {
		_, history, err := e.ShowRotation(t.Context(), admin, path(p))
		if err != nil {
			lines = append(lines, outcomeOf(err))
		}
		for _, h := range history {
			lines = append(lines, fmt.Sprintf("%+v", h))
		}
	}
	return lines
}

// tellsLess fails the test when now has a line that before has not, and reports whether it lacks one.
func tellsLess(t *testing.T, name string, before, now []string) bool {
	t.Helper()
	for _, line := range now {
		if !slices.Contains(before, line) && line != isTampered && line != outcomeOf(secret.ErrInvalid) {
			t.Errorf("%s: it says %s", name, line)
		}
	}
	return !slices.Equal(before, now)
}

// writeRotations makes a rotation that has a run to go on with.
func (s *edited) writeRotations() {
	s.t.Helper()
	s.quiet, _ = newEngine(s.t, s.Env, vault.Config{Logger: slog.New(slog.DiscardHandler)})
	_, err := s.Engine.ReplaceRotations(s.t.Context(), s.Admin.Cluster, []rotation.Definition{rotationOf("p/one")})
	must(s.t, err)
	_, err = s.Engine.RunRotation(s.t.Context(), s.Admin, path("p/one"), rotation.Request{})
	must(s.t, err)
}

// rotates: there is no rotation, but for the run that was under way, which says itself how it is defined.
func (s *edited) rotates() {
	s.t.Helper()
	defined, err := s.quiet.DefinedRotations(s.t.Context(), s.Admin, secret.Prefix{})
	must(s.t, err)
	want := []vault.RotationStatus{{Cluster: s.Admin.Cluster, Definition: rotationOf("p/one"), Undefined: true}}
	if diff := cmp.Diff(want, defined, cmpopts.IgnoreFields(vault.RotationStatus{}, "Newest"), cmpopts.EquateEmpty()); diff != "" {
		s.t.Errorf("%s: an edited rotation counts (-want +got):\n%s", s.column, diff)
	}
}

// runs: a run is not shown, and no replica goes on with it.
func (s *edited) runs() {
	s.t.Helper()
	s.shows()
	claimed, err := s.quiet.ClaimRotation(s.t.Context(), time.Minute)
	if err != nil || claimed != nil {
		s.t.Errorf("%s: an edited run is gone on with: %v", s.column, err)
	}
}

// shows: what a run went through is not shown when it is not what was written.
func (s *edited) shows() {
	s.t.Helper()
	_, history, err := s.quiet.ShowRotation(s.t.Context(), s.Admin, path("p/one"))
	if err == nil && len(history) > 0 {
		s.t.Errorf("%s: an edited run is shown", s.column)
	}
}

// writeRotations makes two rotations, of two clusters, and runs that differ in all that they can: one has ended.
func (s *swapping) writeRotations(t *testing.T) {
	t.Helper()
	for cluster, p := range map[string]string{"default": "p/one", s.Admin.Cluster: "p/two"} {
		d := rotationOf(p)
		d.Schedule.Every = prom.Duration(time.Duration(len(cluster)) * 24 * time.Hour)
		another := rotationOf("p/" + cluster)
		for range len(cluster) % 3 { // so that the sets have other revisions
			_, err := s.Engine.ReplaceRotations(t.Context(), cluster, nil)
			must(t, err)
			_, err = s.Engine.ReplaceRotations(t.Context(), cluster, []rotation.Definition{another})
			must(t, err)
		}
		_, err := s.Engine.ReplaceRotations(t.Context(), cluster, []rotation.Definition{d, another})
		must(t, err)
		_, err = s.Engine.RunRotation(t.Context(), s.Admin, path(p), rotation.Request{})
		must(t, err)
		if p == "p/two" {
			continue
		}
		claimed, err := s.Engine.ClaimRotation(t.Context(), time.Minute)
		must(t, err)
		_, err = s.Engine.AdvanceRotation(t.Context(), claimed, vault.RotationProgress{Outcome: rotation.Outcome{Err: rotation.ErrOvertaken}})
		must(t, err)
	}
	exec(t, s.Env, `UPDATE rotation_runs SET look_at = leased_until + interval '1 second'`) // they may have been the same
}

// rotates looks at rotations, of which no engine remembers more than the revisions.
func (s *swapping) rotates(name string) bool {
	return tellsLess(s.t, name, s.rotations, toldOfRotations(s.t, s.reader, s.Admin, "p/one", "p/two"))
}

// TestOldRunIsNotBelieved: a run put back as it was before a step gives itself away by the step.
func TestOldRunIsNotBelieved(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/one", "v")
	_, err := env.Engine.ReplaceRotations(t.Context(), env.Admin.Cluster, []rotation.Definition{rotationOf("p/one")})
	must(t, err)
	_, err = env.Engine.RunRotation(t.Context(), env.Admin, path("p/one"), rotation.Request{})
	must(t, err)
	exec(t, env, `CREATE TABLE kept AS SELECT * FROM rotation_runs`)
	_, err = env.Engine.CancelRotation(t.Context(), env.Admin, path("p/one"))
	must(t, err)
	exec(t, env, `UPDATE rotation_runs r SET record = k.record, mac = k.mac, revision = k.revision FROM kept k`)
	claimed, err := env.Engine.ClaimRotation(t.Context(), time.Minute)
	if claimed != nil || err != nil {
		t.Errorf("it is gone on with: %v", err)
	}
	_, err = env.Engine.CancelRotation(t.Context(), env.Admin, path("p/one"))
	wantError(t, err, secret.ErrTampered)
	_, _, err = env.Engine.ShowRotation(t.Context(), env.Admin, path("p/one"))
	wantError(t, err, secret.ErrTampered)
}

// TestOldRotationsAreNotBelieved: a set put back is older than the one that an engine knows, and counts for nothing until Kubernetes
// brings its own.
func TestOldRotationsAreNotBelieved(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/one", "v")
	cluster := env.Admin.Cluster
	replace := func(want bool, definitions ...rotation.Definition) {
		t.Helper()
		changed, err := env.Engine.ReplaceRotations(t.Context(), cluster, definitions)
		if err != nil || changed != want {
			t.Fatalf("changed %v, %v", changed, err)
		}
	}
	shown := func() int {
		t.Helper()
		defined, err := env.Engine.DefinedRotations(t.Context(), env.Admin, secret.Prefix{})
		must(t, err)
		return len(defined)
	}
	replace(true, rotationOf("p/one"))
	replace(false, rotationOf("p/one"))
	exec(t, env, `CREATE TABLE kept AS SELECT * FROM rotation_sets; CREATE TABLE kept_rotations AS SELECT * FROM rotations`)
	replace(true)
	if shown() != 0 {
		t.Error("it is still defined")
	}
	exec(t, env, `UPDATE rotation_sets s SET revision = k.revision, mac = k.mac FROM kept k; INSERT INTO rotations SELECT * FROM kept_rotations`)
	if shown() != 0 {
		t.Error("the former set counts")
	}
	_, err := env.Engine.RunRotation(t.Context(), env.Admin, path("p/one"), rotation.Request{})
	if !errors.Is(err, secret.ErrInvalid) {
		t.Errorf("run: %v", err)
	}
	replace(true, rotationOf("p/one"))
	if shown() != 1 {
		t.Error("what Kubernetes brought is not there")
	}
}
