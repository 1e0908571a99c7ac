package vaultsecret

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/types"
)

// noon is when the tests of this package begin.
var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// A change counts from its commit to the write of a reconcile that began after it.
func TestPropagationIsMeasuredFromTheEarliestChange(t *testing.T) {
	key := types.NamespacedName{Namespace: "a", Name: "b"}
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	tests := map[string]struct {
		do      func(*propagation)
		seconds []float64 // sums of what was observed
		oldest  time.Time
	}{
		"written": {func(p *propagation) {
			p.enqueued(key, at(0))
			p.begun(key)
			p.written(key, at(3))
			p.ended(key)
		}, []float64{3}, time.Time{}},
		"the earliest of two": {func(p *propagation) {
			p.enqueued(key, at(2))
			p.enqueued(key, at(1))
			p.begun(key)
			p.written(key, at(5))
			p.ended(key)
		}, []float64{4}, time.Time{}},
		"one that comes too late waits for the next": {func(p *propagation) {
			p.enqueued(key, at(0))
			p.begun(key)
			p.enqueued(key, at(1))
			p.written(key, at(2))
			p.ended(key)
			p.begun(key)
			p.written(key, at(7))
			p.ended(key)
		}, []float64{2, 6}, time.Time{}},
		"one that comes during a reconcile with nothing to do is not lost": {func(p *propagation) {
			p.begun(key)
			p.enqueued(key, at(1))
			p.settled(key)
			p.ended(key)
		}, nil, at(1)},
		"a reconcile that fails leaves it to the next": {func(p *propagation) {
			p.enqueued(key, at(0))
			p.begun(key)
			p.ended(key)
			p.begun(key)
			p.written(key, at(9))
			p.ended(key)
		}, []float64{9}, time.Time{}},
		"at work": {func(p *propagation) {
			p.enqueued(key, at(4))
			p.begun(key)
		}, nil, at(4)},
		"settled": {func(p *propagation) {
			p.enqueued(key, at(0))
			p.begun(key)
			p.settled(key)
			p.ended(key)
		}, nil, time.Time{}},
		"gone": {func(p *propagation) {
			p.enqueued(key, at(0))
			p.forget(key)
		}, nil, time.Time{}},
		"written without a change": {func(p *propagation) {
			p.begun(key)
			p.written(key, at(3))
			p.ended(key)
		}, nil, time.Time{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPropagation()
			test.do(p)
			histogram := collected(t, p.seconds)[0].GetHistogram()
			want := 0.0
			for _, seconds := range test.seconds {
				want += seconds
			}
			if int(histogram.GetSampleCount()) != len(test.seconds) || histogram.GetSampleSum() != want {
				t.Errorf("%d changes took %v s, want %v", histogram.GetSampleCount(), histogram.GetSampleSum(), test.seconds)
			}
			if got := p.oldest(); !got.Equal(test.oldest) {
				t.Errorf("the oldest change on its way is of %v, want %v", got, test.oldest)
			}
			if test.oldest.IsZero() && len(p.changes) > 0 {
				t.Errorf("%d VaultSecrets are kept in mind without need", len(p.changes))
			}
		})
	}
}

// collected is what a collector tells a scrape.
func collected(t *testing.T, c prometheus.Collector) []*dto.Metric {
	t.Helper()
	out := make(chan prometheus.Metric, 100)
	c.Collect(out)
	close(out)
	var metrics []*dto.Metric
	for metric := range out {
		m := &dto.Metric{}
		if err := metric.Write(m); err != nil {
			t.Fatal(err)
		}
		metrics = append(metrics, m)
	}
	return metrics
}
