// Package promql checks with Prometheus' own engine that the alerts of
// config/prometheus fire when they should, and only then.
package promql
