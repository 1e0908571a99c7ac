package issuers

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The results of asking an issuer for its keys.
const (
	keysFetched = "fetched"
	keysFailed  = "failed"
)

// metrics counts how often issuers were asked for their keys.
type metrics struct{ fetches *prometheus.CounterVec }

func newMetrics(registerer prometheus.Registerer) metrics {
	return metrics{fetches: promauto.With(registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "coffer_issuer_key_fetches_total", Help: "Times that an OpenID Connect issuer was asked for its keys.",
	}, []string{"issuer", "result"})}
}

// begin makes the series of an issuer, so that its first failure shows as a change.
func (m metrics) begin(issuer string) {
	for _, result := range []string{keysFetched, keysFailed} {
		m.fetches.WithLabelValues(issuer, result)
	}
}

// end removes the series of an issuer that the file does not name any more.
func (m metrics) end(issuer string) {
	m.fetches.DeletePartialMatch(prometheus.Labels{"issuer": issuer})
}

// fetched counts one fetch, which ended with err.
func (m metrics) fetched(issuer string, err error) {
	result := keysFetched
	if err != nil {
		result = keysFailed
	}
	m.fetches.WithLabelValues(issuer, result).Inc()
}
