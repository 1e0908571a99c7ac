package vault_test

import (
	"testing"
	"time"

	prom "github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// Who defines a rotation is told how it stands as far as its service account may read and rotate the path: whether there is a path is told to
// nobody else. Another cluster's rotations are its own.
func TestStandingRotations(t *testing.T) {
	env := vaulttest.Start(t)
	mayBoth := vaulttest.ServiceAccount("payments", "rotator", "")
	env.AllowAll(t, mayBoth, "production/payments/**")
	env.Allow(t, mayBoth, "production/read/**", "read")
	env.Allow(t, mayBoth, "production/rotate/**", "rotate")
	var definitions []rotation.Definition
	for _, p := range []string{"production/payments/a", "production/payments/missing", "production/read/a", "production/rotate/a", "production/other/a"} {
		if p != "production/payments/missing" {
			env.Put(t, p, "one")
		}
		d := rotationOf(p)
		d.Schedule = schedule.Spec{Every: prom.Duration(24 * time.Hour)}
		definitions = append(definitions, d)
	}
	_, err := env.Engine.ReplaceRotations(t.Context(), mayBoth.Cluster, definitions)
	must(t, err)
	elsewhere := rotationOf("production/payments/a")
	elsewhere.Name = "of another cluster"
	_, err = env.Engine.ReplaceRotations(t.Context(), "elsewhere", []rotation.Definition{elsewhere})
	must(t, err)

	standings, err := env.Engine.StandingRotations(t.Context(), mayBoth.Cluster)
	must(t, err)
	if len(standings) != len(definitions) {
		t.Fatalf("%d rotations stand, want %d: %+v", len(standings), len(definitions), standings)
	}
	for _, s := range standings {
		allowed := s.Name == "rotation of production/payments/a"
		if s.Denied == allowed || s.Next.IsZero() == allowed || s.Newest != nil || !s.OverdueSince.IsZero() {
			t.Errorf("%+v", s)
		}
	}
}
