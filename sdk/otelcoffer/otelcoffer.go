// Package otelcoffer gives the clients of the sdk spans and metrics of OpenTelemetry:
//
//	hooks, err := otelcoffer.Hooks(otelcoffer.Options{})
//	...
//	client, err := sdk.New(sdk.Config{Hooks: hooks})
//
// It is a module of its own, so that the sdk forces OpenTelemetry on nobody.
package otelcoffer

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/coffer-vault/coffer/sdk"
)

// scope is the name of the instrumentation.
const scope = "github.com/coffer-vault/coffer/sdk/otelcoffer"

// The attributes. Metrics have no path: each would be a series of its own.
const (
	attributeOperation = attribute.Key("coffer.operation") // such as "GET /v1/secret"
	attributePath      = attribute.Key("coffer.path")
	attributeAttempt   = attribute.Key("coffer.attempt") // from 1
	attributeCode      = attribute.Key("coffer.code")    // an sdk.Code, "ok", or "failed" without a code
	attributeOutcome   = attribute.Key("coffer.outcome") // an sdk.CacheOutcome
)

// Options say where spans and metrics go: to the providers that are set with otel when nil.
type Options struct {
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
}

// Hooks returns hooks for sdk.Config. Each request to the server is a span with its
// operation, path, attempt and code. The metrics are coffer.client.attempt.duration, a
// histogram of seconds by operation and code, and coffer.client.cache.reads, a counter by
// outcome. Neither has a value of a secret.
//
// It fails when the meter does not take the metrics.
func Hooks(o Options) (sdk.Hooks, error) {
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	meter := o.MeterProvider.Meter(scope)
	durations, err := meter.Float64Histogram("coffer.client.attempt.duration", metric.WithUnit("s"), metric.WithDescription("Duration of requests to Coffer"))
	if err != nil {
		return sdk.Hooks{}, fmt.Errorf("make the metric of durations: %w", err)
	}
	reads, err := meter.Int64Counter("coffer.client.cache.reads", metric.WithUnit("{read}"), metric.WithDescription("Reads of caches of secrets"))
	if err != nil {
		return sdk.Hooks{}, fmt.Errorf("make the metric of cache reads: %w", err)
	}
	tracer := o.TracerProvider.Tracer(scope)
	return sdk.Hooks{
		Attempt: func(ctx context.Context, a sdk.Attempt) (context.Context, func(sdk.AttemptResult)) {
			operation := attributeOperation.String(a.Operation)
			ctx, span := tracer.Start(ctx, "coffer "+a.Operation, trace.WithSpanKind(trace.SpanKindClient),
				trace.WithAttributes(operation, attributePath.String(a.Path), attributeAttempt.Int(a.Number)))
			return ctx, func(r sdk.AttemptResult) {
				code := attributeCode.String(codeOf(r))
				span.SetAttributes(code)
				if r.Err != nil {
					span.SetStatus(codes.Error, codeOf(r))
				}
				span.End()
				durations.Record(ctx, r.Duration.Seconds(), metric.WithAttributes(operation, code))
			}
		},
		CacheRead: func(ctx context.Context, r sdk.CacheRead) {
			reads.Add(ctx, 1, metric.WithAttributes(attributeOutcome.String(string(r.Outcome))))
		},
	}, nil
}

func codeOf(r sdk.AttemptResult) string {
	switch {
	case r.Code != "":
		return string(r.Code)
	case r.Err != nil:
		return "failed"
	default:
		return "ok"
	}
}
