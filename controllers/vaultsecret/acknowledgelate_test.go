package vaultsecret

import (
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestAcknowledgementsThatFailAreLate since the first that failed, until one does not.
func TestAcknowledgementsThatFailAreLate(t *testing.T) {
	metrics, err := newInstruments(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	a := &acknowledgements{late: metrics.acknowledgementsLate}
	away := errors.New("the database is away")
	for i, step := range []struct {
		at   time.Duration
		err  error
		want float64
	}{{0, nil, 0}, {time.Minute, away, 0}, {3 * time.Minute, away, 120}, {4 * time.Minute, nil, 0}, {9 * time.Minute, away, 0}, {10 * time.Minute, away, 60}} {
		a.ended(step.err, noon.Add(step.at))
		if got := testutil.ToFloat64(a.late); got != step.want {
			t.Errorf("step %d: late by %v s, want %v", i, got, step.want)
		}
	}
}
