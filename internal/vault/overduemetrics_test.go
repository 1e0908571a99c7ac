package vault_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	prom "github.com/prometheus/common/model"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/rotation/schedule"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// remember writes a path with a reminder after some days.
func remember(t *testing.T, env *vaulttest.Env, p string, days int) {
	t.Helper()
	_, err := env.Engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: path(p), Value: vaulttest.Value(t, "v"), RotateAfterDays: new(days)})
	must(t, err)
}

// TestOverdueIsCounted by every replica, whether notifications are on or not: by reminder, and by a rotation that nobody has done, without a
// path as a label. What was rotated is counted no more.
func TestOverdueIsCounted(t *testing.T) {
	clock := &setClock{now: time.Now()}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	remember(t, env, "p/ten", 10)
	remember(t, env, "p/one", 1)
	remember(t, env, "p/never", 0)
	env.Put(t, "p/rotated", "v")
	d := rotationOf("p/rotated")
	d.Schedule = schedule.Spec{Every: prom.Duration(24 * time.Hour)}
	_, err := env.Engine.ReplaceRotations(t.Context(), env.Admin.Cluster, []rotation.Definition{d})
	must(t, err)
	registry := prometheus.NewRegistry()
	replica, _ := newEngine(t, env, vault.Config{Clock: clock.Now, Registerer: registry})
	begun := clock.Now()
	for _, c := range []struct {
		name                 string
		after                time.Duration
		reminders, rotations int
		seconds              float64 // of the longest reminder
	}{
		{"nothing is due", time.Hour, 0, 0, 0},
		{"one is", 24*time.Hour + time.Hour, 1, 0, 3600},
		{"the rotation is late by more than a day", 49 * time.Hour, 1, 1, 25 * 3600},
		{"both are", 241 * time.Hour, 2, 1, 217 * 3600},
	} {
		clock.Set(begun.Add(c.after))
		must(t, replica.CountOverdue(t.Context()))
		want := fmt.Sprintf(`# HELP coffer_secrets_overdue Paths whose current version is older than wanted: by a reminder, or by a rotation that is late by a day.
# TYPE coffer_secrets_overdue gauge
coffer_secrets_overdue{kind="reminder"} %d
coffer_secrets_overdue{kind="rotation"} %d
`, c.reminders, c.rotations)
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "coffer_secrets_overdue"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		// Postgres keeps microseconds.
		if got := gathered(t, registry, "coffer_secret_overdue_seconds", "reminder"); got < c.seconds-1 || got > c.seconds+1 {
			t.Errorf("%s: the longest is overdue for %v s, want %v", c.name, got, c.seconds)
		}
		if late := gathered(t, registry, "coffer_secret_overdue_seconds", "rotation"); late > 0 != (c.rotations > 0) {
			t.Errorf("%s: the rotation is late by %v s", c.name, late)
		}
	}
	env.Put(t, "p/one", "another")
	must(t, replica.CountOverdue(t.Context()))
	if got := gathered(t, registry, "coffer_secrets_overdue", "reminder"); got != 1 {
		t.Errorf("%v are overdue after one was rotated by hand", got)
	}
}

// TestCountingOverdueCostsLittle: paths without a reminder cost nothing, those with one two MACs, and no value is read.
func TestCountingOverdueCostsLittle(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	const without, with = 20, 7
	for i := range without {
		env.Put(t, fmt.Sprintf("p/without%d", i), "v")
	}
	for i := range with {
		remember(t, env, fmt.Sprintf("p/with%d", i), 1)
	}
	counted := &countedKeyring{}
	engine, _ := newEngineOver(t, env, vault.Config{Clock: func() time.Time { return time.Now().Add(72 * time.Hour) }}, func(k vault.Keyring) vault.Keyring {
		counted.Keyring = k
		return counted
	})
	conn, err := pgx.Connect(t.Context(), env.DSN)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	// A statement that names the column fails.
	_, err = conn.Exec(t.Context(), `ALTER TABLE secret_versions RENAME COLUMN box TO box_that_nobody_reads`)
	must(t, err)
	must(t, engine.CountOverdue(t.Context()))
	if got := counted.macs.Load(); got != 2*with {
		t.Errorf("it costs %d MACs, want %d", got, 2*with)
	}
}
