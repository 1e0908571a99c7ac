package authn

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ofKubernetes stands where the URL of an issuer stands for its tokens.
const ofKubernetes = "kubernetes"

// results are what a check of a token ends with.
var results = []string{"accepted", "refused", "unavailable"}

// metrics counts the checks of tokens. Only issuers that the file has named since the start have series: what is in tokens makes none.
type metrics struct{ checks *prometheus.CounterVec }

func newMetrics(registerer prometheus.Registerer) metrics {
	m := metrics{checks: promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "coffer_token_checks_total", Help: "Tokens that were checked, not counting those whose last check is still believed.",
	}, []string{"issuer", "result"})}
	for _, result := range results {
		m.checks.WithLabelValues(ofKubernetes, result)
	}
	return m
}

// checked counts one check, which ended with err.
func (m metrics) checked(issuer string, err error) {
	result := "unavailable"
	switch {
	case err == nil:
		result = "accepted"
	case errors.Is(err, ErrUnauthenticated):
		result = "refused"
	}
	m.checks.WithLabelValues(issuer, result).Inc()
}
