package issuers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/testkit/oidcissuer"
)

// TestFetchesAreCounted: an issuer has its series from the start, and none when the file does not name it any more.
func TestFetchesAreCounted(t *testing.T) {
	ci, cloud := oidcissuer.Start(t), oidcissuer.Start(t)
	registry := prometheus.NewRegistry()
	e := openCounted(t, ci.Config()+cloud.Entry("cloud:"), registry)
	want := func(when string, series ...string) {
		t.Helper()
		got := map[string]bool{}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				labels := m.GetLabel() // in the order of their names
				got[fmt.Sprintf("%s %s %g", labels[0].GetValue(), labels[1].GetValue(), m.GetCounter().GetValue())] = true
			}
		}
		for _, s := range series {
			if !got[s] {
				t.Errorf("%s: %q is not among %v", when, s, got)
			}
		}
		if len(got) != len(series) {
			t.Errorf("%s: %d series, want %d: %v", when, len(got), len(series), got)
		}
	}
	want("before", ci.URL+" failed 0", ci.URL+" fetched 0", cloud.URL+" failed 0", cloud.URL+" fetched 0")
	e.wantGood(t, ci.Token(t, "x", nil))
	cloud.Fail()
	e.wantErr(t, cloud.Token(t, "x", nil), issuers.ErrUnavailable)
	want("after", ci.URL+" failed 0", ci.URL+" fetched 1", cloud.URL+" failed 1", cloud.URL+" fetched 0")
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	e.write(t, ci.Config())
	e.pass(time.Second)
	e.wantGood(t, ci.Token(t, "x", nil))
	want("when one is taken out", ci.URL+" failed 0", ci.URL+" fetched 1")
}
