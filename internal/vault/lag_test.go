package vault_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// metric is the one series of the family called name.
func metric(t *testing.T, registry *prometheus.Registry, name string) *dto.Metric {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0]
		}
	}
	t.Fatalf("there is no metric %s", name)
	return nil
}

// TestFeedMetrics: delivery counts each change that came while following, once and
// with its whole age, also when the handler failed at first; the lag grows while the
// handler fails and is gone when it does not.
func TestFeedMetrics(t *testing.T) {
	env := vaulttest.Start(t)
	for i := range 5 {
		env.Put(t, fmt.Sprintf("before/x%d", i), "v") // not counted: from before following
	}
	registry := prometheus.NewRegistry()
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{DatabaseURL: env.DSN, RedisURL: env.RedisURL, Root: env.Root, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeEngine)
	delivery := func() *dto.Histogram { return metric(t, registry, "coffer_changes_delivery_seconds").GetHistogram() }
	lag := func() float64 { return metric(t, registry, "coffer_changes_lag_seconds").GetGauge().GetValue() }
	if lag() != 0 {
		t.Errorf("where nothing follows the lag is %v s", lag())
	}

	var refuses atomic.Bool
	f := follow(t, env, engine, func([]changes.Change) error {
		if refuses.Load() {
			return errors.New("not now")
		}
		return nil
	})
	env.Put(t, "a/b", "v")
	f.want(t, "put a/b 1")
	before := delivery().GetSampleCount()
	refuses.Store(true)
	exec(t, env, `INSERT INTO changes (kind, path, version, written_at) VALUES ('put', 'old/one', 1, clock_timestamp() - interval '100 s')`)
	eventually(t, "the lag grows while the handler fails", func() bool { return lag() > 6 }) // above a poll's interval
	if f.has("put old/one 1") || delivery().GetSampleCount() != before {
		t.Errorf("a change that was refused counts as delivered: %d, then %d", before, delivery().GetSampleCount())
	}
	refuses.Store(false)
	f.want(t, "put old/one 1")
	eventually(t, "the delivery is counted", func() bool { return delivery().GetSampleCount() > before })
	eventually(t, "the lag is gone", func() bool { return lag() < 1 })
	if n, sum := delivery().GetSampleCount(), delivery().GetSampleSum(); n != before+1 || sum < 100 || sum > 160 {
		t.Errorf("%d deliveries more, %v s altogether; want 1, and 100 s of age with some s until it was handled", n-before, sum)
	}
	if before > 2 {
		t.Errorf("%d deliveries counted of 2 changes since following began", before)
	}
}

// TestFeedMetricsWhileRedisIsDown: the lag stays within the poll, and what the poll
// finds is counted with the time that it took.
func TestFeedMetricsWhileRedisIsDown(t *testing.T) {
	t.Parallel() // it mostly waits
	server := testkit.RedisServer(t)
	env := vaulttest.StartWith(t, vaulttest.Config{RedisURL: server.URL()})
	registry := prometheus.NewRegistry()
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{DatabaseURL: env.DSN, RedisURL: env.RedisURL, Root: env.Root, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeEngine)
	f := follow(t, env, engine, nil)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	delivery := func() *dto.Histogram { return metric(t, registry, "coffer_changes_delivery_seconds").GetHistogram() }
	for i := range 4 {
		before, sum := delivery().GetSampleCount(), delivery().GetSampleSum()
		env.Put(t, "a/b", "v")
		took := f.want(t, fmt.Sprintf("put a/b %d", i+1))
		eventually(t, "the delivery is counted", func() bool { return delivery().GetSampleCount() > before })
		if counted := delivery().GetSampleSum() - sum; counted > took.Seconds()+1 || took.Seconds() > counted+1 {
			t.Errorf("a delivery that took %v is counted as %v s", took, counted)
		}
		if lag := metric(t, registry, "coffer_changes_lag_seconds").GetGauge().GetValue(); lag > patience.Seconds()/2 {
			t.Errorf("with Redis down the lag is %v s", lag)
		}
	}
}
