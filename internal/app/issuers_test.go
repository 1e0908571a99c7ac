package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/testkit/oidcissuer"
)

// TestOpenIssuers: without the flag there are none, a file that cannot be used ends the start, and one that can is believed, for the
// manager's audience, and counted in its metrics.
func TestOpenIssuers(t *testing.T) {
	before := metrics.Registry
	registry := prometheus.NewRegistry()
	metrics.Registry = registry
	t.Cleanup(func() { metrics.Registry = before })
	logger := slog.New(slog.DiscardHandler)
	if known, err := openIssuers(Config{}, logger); known != nil || err != nil {
		t.Errorf("without a file: %v, %v", known, err)
	}
	file := filepath.Join(t.TempDir(), "issuers.yaml")
	if _, err := openIssuers(Config{OIDCConfig: file}, logger); err == nil || !strings.Contains(err.Error(), "--oidc-config") {
		t.Errorf("a file that is not there: %v", err)
	}
	registry = prometheus.NewRegistry()
	metrics.Registry = registry

	ci := oidcissuer.Start(t)
	if err := os.WriteFile(file, []byte(ci.Config()), 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := openIssuers(Config{OIDCConfig: file, TokenAudience: "coffer"}, logger)
	if err != nil {
		t.Fatal(err)
	}
	callers := authn.New(authn.Options{Audience: "coffer", Cluster: "east", Issuers: known, Registerer: registry})
	if caller, err := callers.Authenticate(t.Context(), ci.Token(t, "repo:x", nil)); err != nil || caller.Name != "ci:repo:x" {
		t.Errorf("a token of the issuer: %v, %v", caller.Name, err)
	}
	if _, err := callers.Authenticate(t.Context(), ci.Token(t, "repo:x", oidcissuer.Claims{"aud": "vault"})); err == nil {
		t.Error("a token for another audience is believed")
	}
	want := strings.ReplaceAll(`# HELP coffer_issuer_key_fetches_total Times that an OpenID Connect issuer was asked for its keys.
# TYPE coffer_issuer_key_fetches_total counter
coffer_issuer_key_fetches_total{issuer="URL",result="failed"} 0
coffer_issuer_key_fetches_total{issuer="URL",result="fetched"} 1
# HELP coffer_token_checks_total Tokens that were checked, not counting those whose last check is still believed.
# TYPE coffer_token_checks_total counter
coffer_token_checks_total{issuer="URL",result="accepted"} 1
coffer_token_checks_total{issuer="URL",result="refused"} 1
coffer_token_checks_total{issuer="kubernetes",result="accepted"} 0
coffer_token_checks_total{issuer="kubernetes",result="refused"} 0
coffer_token_checks_total{issuer="kubernetes",result="unavailable"} 0
`, "URL", ci.URL)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "coffer_issuer_key_fetches_total", "coffer_token_checks_total"); err != nil {
		t.Error(err)
	}
}
