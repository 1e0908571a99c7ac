package server_test

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit/oidcissuer"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

// TestAPipeline: a caller of an issuer reads what policies give to it and to its groups;
// while the issuer is away it is told so, and not that its token is no good.
func TestAPipeline(t *testing.T) {
	ci := oidcissuer.Start(t)
	path := filepath.Join(t.TempDir(), "issuers.yaml")
	must(t, os.WriteFile(path, []byte(ci.Config()), 0o600))
	open := func() *issuers.File {
		file, err := issuers.Open(issuers.Options{File: path, Audience: "coffer", Logger: slog.New(slog.DiscardHandler)})
		must(t, err)
		return file
	}
	change := func(c *server.Config) {
		c.Authenticator = authn.New(authn.Options{Audience: "coffer", Cluster: clusterName, Issuers: open()})
	}
	e := startByToken(t, vaulttest.Start(t), change, nil)
	e.Put(t, "ci/deploy", "deploy-value")
	e.Put(t, "ci/team", "team-value")
	e.Put(t, "other", "other-value")
	e.AllowRules(t, clusterName, policy.Rule{
		Effect: policy.Allow, Paths: []policy.Pattern{pattern(t, "ci/deploy")}, Capabilities: []policy.Capability{policy.Read},
		Subjects: policy.Subjects{Users: []string{"ci:repo:example/app"}},
	}, policy.Rule{
		Effect: policy.Allow, Paths: []policy.Pattern{pattern(t, "ci/team")}, Capabilities: []policy.Capability{policy.Read},
		Subjects: policy.Subjects{Groups: []string{"ci:team"}},
	})
	app := account{token: ci.Token(t, "repo:example/app", oidcissuer.Claims{"groups": []string{"team"}})}
	want := sdk.Identity{Kind: string(secret.KindUser), Cluster: clusterName, Name: "ci:repo:example/app", UID: "repo:example/app", Groups: []string{"ci:team"}}
	if diff := cmp.Diff(want, decode[sdk.Identity](t, e.do(t, app, http.MethodGet, "/v1/whoami", ""))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	stranger := account{token: ci.Token(t, "repo:example/apps", nil)}
	for _, test := range []struct {
		who  account
		path string
		want int
	}{
		{app, "ci/deploy", http.StatusOK}, {app, "ci/team", http.StatusOK}, {app, "other", http.StatusNotFound},
		{stranger, "ci/deploy", http.StatusNotFound}, {stranger, "ci/team", http.StatusNotFound},
		{account{token: ci.Token(t, "repo:example/app", oidcissuer.Claims{"aud": "api"})}, "ci/deploy", http.StatusUnauthorized},
	} {
		if got := e.do(t, test.who, http.MethodGet, at("/v1/secret", test.path), ""); got.status != test.want {
			t.Errorf("%s: got %d: %s", test.path, got.status, got.body)
		}
	}

	ci.Fail()
	away := startByToken(t, e.Env, change, nil) // a replica that has no keys yet
	got := away.do(t, app, http.MethodGet, at("/v1/secret", "ci/deploy"), "")
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" || got.problem(t).Code != sdk.CodeUnavailable {
		t.Errorf("without the issuer: %d %s", got.status, got.body)
	}
	if !strings.Contains(away.log.String(), ci.URL) || strings.Contains(away.log.String(), app.token) {
		t.Errorf("the log does not name the issuer, or has the token: %s", away.log)
	}
}

func pattern(t *testing.T, s string) policy.Pattern {
	t.Helper()
	p, err := policy.ParsePattern(s)
	must(t, err)
	return p
}
