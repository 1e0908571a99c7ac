package server_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
	"github.com/coffer-vault/coffer/sdk"
)

const clusterName = "default"

// env is a server on loopback over a real vault, which asks a real API server who its
// callers are.
type env struct {
	*vaulttest.Env
	kube    client.Client
	url     string
	log     *testkit.Output
	metrics *prometheus.Registry
}

// start makes a server; change, when not nil, changes its configuration.
func start(t *testing.T, vault *vaulttest.Env, change func(*server.Config)) *env {
	t.Helper()
	c, err := client.New(testkit.Kube(t, "../testkit/testdata/crd"), client.Options{})
	must(t, err)
	e := &env{Env: vault, kube: c, log: &testkit.Output{}, metrics: prometheus.NewRegistry()}
	config := server.Config{
		Vault:         vault.Engine,
		Authenticator: authn.New(authn.Options{Client: c, Reader: c, Audience: "coffer", Cluster: clusterName}),
		Logger:        slog.New(slog.NewJSONHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registerer:    e.metrics,
	}
	if change != nil {
		change(&config)
	}
	s := httptest.NewServer(holdToContract(t, server.New(config)))
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

// account is a service account with a token.
type account struct {
	caller secret.Caller
	token  string
}

// account makes a namespace with a service account "api".
func (e *env) account(t *testing.T, environment string) account {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "server-", Labels: map[string]string{vaultv1alpha1.EnvironmentLabel: environment},
	}}
	must(t, e.kube.Create(t.Context(), namespace))
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "api"}}
	must(t, e.kube.Create(t.Context(), sa))
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"coffer"}}}
	must(t, e.kube.SubResource("token").Create(t.Context(), sa, request))
	return account{
		token:  request.Status.Token,
		caller: secret.Caller{Kind: secret.KindServiceAccount, Cluster: clusterName, Namespace: sa.Namespace, Name: sa.Name, UID: string(sa.UID)},
	}
}

// admin makes an account that may do everything, or only some things, on every path.
func (e *env) admin(t *testing.T, only ...policy.Capability) account {
	t.Helper()
	a := e.account(t, "operations")
	if len(only) == 0 {
		only = policy.Capabilities()
	}
	e.Allow(t, a.caller, "**", only...)
	return a
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with the account's token; body is sent as it is.
func (e *env) do(t *testing.T, a account, method, target, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, e.url+target, strings.NewReader(body))
	must(t, err)
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	must(t, err)
	return answer{response.StatusCode, response.Header, string(content)}
}

// problem reads the answer as a Problem.
func (a answer) problem(t *testing.T) sdk.Problem {
	t.Helper()
	var p sdk.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("status %d is not a problem: %v", a.status, err)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	if p.Status != a.status {
		t.Errorf("the body says %d, the status is %d", p.Status, a.status)
	}
	return p
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	must(t, json.Unmarshal([]byte(a.body), &v))
	return v
}

// at is the route with a path in its query.
func at(route, path string) string { return route + "?path=" + url.QueryEscape(path) }

// putBody is a request with value.
func putBody(t *testing.T, value string) string {
	t.Helper()
	body, err := json.Marshal(sdk.PutRequest{Value: []byte(value)})
	must(t, err)
	return string(body)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
