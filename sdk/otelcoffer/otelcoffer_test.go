package otelcoffer_test

import (
	"fmt"
	"slices"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/coffer-vault/coffer/sdk"
	"github.com/coffer-vault/coffer/sdk/coffertest"
	"github.com/coffer-vault/coffer/sdk/otelcoffer"
)

// TestHooks: what a program does with a client and a cache is in spans and metrics.
func TestHooks(t *testing.T) {
	spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	hooks, err := otelcoffer.Hooks(otelcoffer.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
		MeterProvider:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := coffertest.NewServer(t)
	server.Put("a/b", "one")
	config := server.Config()
	config.Hooks = hooks
	client, err := sdk.New(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(t.Context(), "a/c"); err == nil {
		t.Fatal("a path that is not there is read")
	}
	hooks.CacheRead(t.Context(), sdk.CacheRead{Path: "a/b", Outcome: sdk.CacheStale})

	var got []string
	for _, span := range spans.Ended() {
		got = append(got, fmt.Sprint(span.Name(), " ", span.Status().Code, " ", span.Attributes()))
	}
	want := []string{
		`coffer GET /v1/secret Unset [{"coffer.operation":"GET /v1/secret"} {"coffer.path":"a/b"} {"coffer.attempt":1} {"coffer.code":"ok"}]`,
		`coffer GET /v1/secret Error [{"coffer.operation":"GET /v1/secret"} {"coffer.path":"a/c"} {"coffer.attempt":1} {"coffer.code":"not_found_or_denied"}]`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("spans are\n%q, want\n%q", got, want)
	}
	if got, want := metricsOf(t, reader), []string{
		"coffer.client.attempt.duration GET /v1/secret not_found_or_denied 1", "coffer.client.attempt.duration GET /v1/secret ok 1", "coffer.client.cache.reads stale 1",
	}; !slices.Equal(got, want) {
		t.Errorf("metrics are\n%q, want\n%q", got, want)
	}
}

// metricsOf are the counts by name and attributes.
func metricsOf(t *testing.T, reader *sdkmetric.ManualReader) (got []string) {
	t.Helper()
	var found metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &found); err != nil {
		t.Fatal(err)
	}
	for _, m := range found.ScopeMetrics[0].Metrics {
		switch data := m.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, p := range data.DataPoints {
				operation, _ := p.Attributes.Value("coffer.operation")
				code, _ := p.Attributes.Value("coffer.code")
				got = append(got, fmt.Sprint(m.Name, " ", operation.AsString(), " ", code.AsString(), " ", p.Count))
			}
		case metricdata.Sum[int64]:
			for _, p := range data.DataPoints {
				outcome, _ := p.Attributes.Value("coffer.outcome")
				got = append(got, fmt.Sprint(m.Name, " ", outcome.AsString(), " ", p.Value))
			}
		}
	}
	slices.Sort(got)
	return got
}
