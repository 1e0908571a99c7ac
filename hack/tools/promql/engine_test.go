package promql

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
	"sigs.k8s.io/yaml"
)

// interval is the time between two samples, and between two evaluations.
const interval = time.Minute

// rule is one alert of a PrometheusRule. A field that is not here is refused: what it
// would mean is not looked at.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         model.Duration    `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// readRules reads the alerts of config/prometheus, in their order.
func readRules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile("../../../config/prometheus/prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       struct {
			Groups []struct {
				Name  string `json:"name"`
				Rules []rule `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		t.Fatal(err)
	}
	var rules []rule
	for _, group := range object.Spec.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

// fires reports whether the alert fires at any time while there are these series, as
// Prometheus does: when the expression has had a result of the same labels at every
// evaluation for as long as `for` says. The series are in the notation of Prometheus'
// own tests, a sample a minute.
func (r *rule) fires(t *testing.T, series ...string) bool {
	t.Helper()
	data, end := load(t, series)
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true})
	defer func() { _ = engine.Close() }()
	query, err := engine.NewRangeQuery(t.Context(), data, nil, r.Expr, time.Unix(0, 0), end, interval)
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	defer query.Close()
	matrix, err := query.Exec(context.Background()).Matrix()
	if err != nil {
		t.Fatalf("%s: %v", r.Alert, err)
	}
	for _, result := range matrix {
		var since, last time.Time
		for _, point := range result.Floats {
			at := timestamp.Time(point.T)
			if since.IsZero() || at.Sub(last) > interval {
				since = at
			}
			if last = at; at.Sub(since) >= time.Duration(r.For) {
				return true
			}
		}
	}
	return false
}

// load makes the series readable, and tells when they end.
func load(t *testing.T, descriptions []string) (data storage.Queryable, end time.Time) {
	t.Helper()
	var all []storage.Series
	for _, description := range descriptions {
		names, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(description)
		if err != nil {
			t.Fatalf("%s: %v", description, err)
		}
		chunk := chunkenc.NewXORChunk()
		appender, err := chunk.Appender()
		if err != nil {
			t.Fatal(err)
		}
		for i, value := range values {
			at := time.Unix(0, 0).Add(time.Duration(i) * interval)
			if !value.Omitted {
				appender.Append(0, timestamp.FromTime(at), value.Value)
			}
			if at.After(end) {
				end = at
			}
		}
		all = append(all, &storage.SeriesEntry{Lset: names, SampleIteratorFn: func(it chunkenc.Iterator) chunkenc.Iterator { return chunk.Iterator(it) }})
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			return selected(all, matchers)
		},
	}}, end
}

// selected are the series that the matchers mean.
func selected(all []storage.Series, matchers []*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{}
	for _, series := range all {
		matches := true
		for _, m := range matchers {
			matches = matches && m.Matches(series.Labels().Get(m.Name))
		}
		if matches {
			set.left = append(set.left, series)
		}
	}
	return set
}

// seriesSet goes through series that are there already.
type seriesSet struct {
	at   storage.Series
	left []storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.left) == 0 {
		return false
	}
	s.at, s.left = s.left[0], s.left[1:]
	return true
}

func (s *seriesSet) At() storage.Series                { return s.at }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
