package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	watches  prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	factory := promauto.With(registerer)
	return &metrics{
		requests: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "coffer_api_requests_total", Help: "Requests to the API.",
		}, []string{"route", "status"}),
		duration: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name: "coffer_api_request_duration_seconds", Help: "Time to answer a request to the API.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 10), // 1 ms to 3.8 s
		}, []string{"route"}),
		watches: factory.NewGauge(prometheus.GaugeOpts{
			Name: "coffer_api_watches", Help: "Watches that are open.",
		}),
	}
}

// observe is the outermost layer: it gives the request its id and its deadline,
// catches panics, and then logs and counts what happened, without any of the body.
func observe(mux http.Handler, logger *slog.Logger, m *metrics) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		e := &exchange{requestID: requestID(r.Header.Get(requestIDHeader))}
		ctx, cancel := withDeadline(withExchange(r.Context(), e), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes+1) // huma refuses a byte earlier, as a Problem
		recorder := &recorder{ResponseWriter: w}
		header := w.Header()
		header.Set(requestIDHeader, e.requestID)
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		defer func() {
			caught := recover()
			//nolint:errorlint // a panic's value, which net/http compares so too
			aborted := caught == http.ErrAbortHandler
			if caught != nil && !aborted {
				recorder.fail(ctx, logger, e, caught)
			}
			for _, f := range e.after {
				f()
			}
			// The mux has set the pattern on this very request.
			finish(ctx, logger, m, r, e, recorder.code(), time.Since(start))
			if aborted {
				panic(caught) // net/http breaks the connection off
			}
		}()
		mux.ServeHTTP(recorder, r)
	})
}

func finish(ctx context.Context, logger *slog.Logger, m *metrics, r *http.Request, e *exchange, status int, took time.Duration) {
	route := r.Pattern
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	if !e.endless {
		m.duration.WithLabelValues(route).Observe(took.Seconds())
	}
	level := slog.LevelInfo
	switch route {
	case "GET /livez", "GET /readyz":
		level = slog.LevelDebug
	}
	caller := ""
	if e.caller.Name != "" {
		caller = e.caller.String()
	}
	logger.Log(ctx, level, "request", "route", route, "status", status, "duration", took,
		"caller", caller, "address", addressOf(r), "requestID", e.requestID)
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// fail answers a request whose handler panicked.
func (w *recorder) fail(ctx context.Context, logger *slog.Logger, e *exchange, caught any) {
	logPanic(ctx, logger, e, caught)
	if w.status == 0 {
		writeProblem(w, problemOf("", errPanicked))
	}
}

// logPanic says where a handler panicked, and not with what: what was thrown may hold
// a value.
func logPanic(ctx context.Context, logger *slog.Logger, e *exchange, caught any) {
	what := fmt.Sprintf("%T", caught)
	if runtimeError, ok := caught.(runtime.Error); ok {
		what = runtimeError.Error()
	}
	logger.ErrorContext(ctx, "a handler panicked", "panic", what, "requestID", e.requestID, "stack", string(debug.Stack()))
}
