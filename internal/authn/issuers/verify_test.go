package issuers_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/oidcissuer"
)

// env is a file of issuers, its clock and its log.
type env struct {
	*issuers.File
	path  string
	clock *clocktesting.FakePassiveClock
	log   *testkit.Output
}

func open(t *testing.T, content string) *env { return openCounted(t, content, nil) }

// openCounted is open with metrics.
func openCounted(t *testing.T, content string, registerer prometheus.Registerer) *env {
	t.Helper()
	e := &env{path: filepath.Join(t.TempDir(), "issuers.yaml"), clock: clocktesting.NewFakePassiveClock(time.Now()), log: &testkit.Output{}}
	e.write(t, content)
	var err error
	e.File, err = issuers.Open(issuers.Options{
		File: e.path, Audience: "coffer", Clock: e.clock, Registerer: registerer,
		Logger: slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *env) write(t *testing.T, content string) {
	t.Helper()
	if err := os.WriteFile(e.path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (e *env) pass(d time.Duration) { e.clock.SetTime(e.clock.Now().Add(d)) }

// verify has a token verified by the issuer that it names.
func (e *env) verify(t *testing.T, token string) (issuers.Identity, error) {
	t.Helper()
	issuer := e.For(t.Context(), token)
	if issuer == nil {
		t.Fatal("no issuer is asked about the token")
	}
	return issuer.Verify(t.Context(), token)
}

func (e *env) wantErr(t *testing.T, token string, want error) {
	t.Helper()
	got, err := e.verify(t, token)
	if !errors.Is(err, want) {
		t.Errorf("got %v, %v, want the error %v", got, err, want)
	}
	if err != nil && strings.Contains(err.Error(), token) || strings.Contains(e.log.String(), token) {
		t.Error("the error or the log holds the token")
	}
}

func (e *env) wantGood(t *testing.T, token string) {
	t.Helper()
	if _, err := e.verify(t, token); err != nil {
		t.Errorf("got %v; log: %s", err, e.log)
	}
}

func TestVerify(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, ci.Config("  claimValidationRules:", "  - {claim: owner, requiredValue: example}"))
	tests := map[string]struct {
		claims oidcissuer.Claims
		want   issuers.Identity
	}{
		"no groups":   {oidcissuer.Claims{}, issuers.Identity{Name: "ci:repo:x"}},
		"one group":   {oidcissuer.Claims{"groups": "ops"}, issuers.Identity{Name: "ci:repo:x", Groups: []string{"ci:ops"}}},
		"groups":      {oidcissuer.Claims{"groups": []string{"b", "a", "", "b"}}, issuers.Identity{Name: "ci:repo:x", Groups: []string{"ci:a", "ci:b"}}},
		"null groups": {oidcissuer.Claims{"groups": (*string)(nil)}, issuers.Identity{Name: "ci:repo:x"}},
		"names of Kubernetes": {
			oidcissuer.Claims{"sub": "system:serviceaccount:kube-system:admin", "groups": []string{"system:masters"}},
			issuers.Identity{Name: "ci:system:serviceaccount:kube-system:admin", Groups: []string{"ci:system:masters"}},
		},
		"one audience of several": {oidcissuer.Claims{"aud": []string{"other", "coffer"}}, issuers.Identity{Name: "ci:repo:x"}},
		"no time to begin":        {oidcissuer.Claims{"nbf": nil, "iat": nil}, issuers.Identity{Name: "ci:repo:x"}},
		"a clock that is ahead":   {oidcissuer.Claims{"nbf": time.Now().Add(5 * time.Second).Unix()}, issuers.Identity{Name: "ci:repo:x"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			claims := oidcissuer.Claims{"owner": "example"}
			maps.Copy(claims, test.claims)
			payload := ci.Payload("repo:x", claims)
			got, err := e.verify(t, oidcissuer.Sign(t, jose.ES256, ci.Key(), payload))
			if err != nil {
				t.Fatalf("%v; log: %s", err, e.log)
			}
			test.want.Subject = payload["sub"].(string)
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(issuers.Identity{}, "Expiry")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got.Expiry.Unix() != payload["exp"] {
				t.Errorf("it is over at %v, want %v", got.Expiry.Unix(), payload["exp"])
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	ci, other := oidcissuer.Start(t), oidcissuer.Start(t)
	e := open(t, ci.Config("  claimValidationRules:", "  - {claim: owner, requiredValue: example}"))
	with := func(claims oidcissuer.Claims) oidcissuer.Claims {
		all := oidcissuer.Claims{"owner": "example"}
		maps.Copy(all, claims)
		return ci.Payload("repo:x", all)
	}
	signed := func(claims oidcissuer.Claims) string { return oidcissuer.Sign(t, jose.ES256, ci.Key(), with(claims)) }
	named := func(id string, key any) jose.JSONWebKey { return jose.JSONWebKey{Key: key, KeyID: id} }
	shared := named("shared", []byte(rand.Text()+rand.Text()))
	encrypts := other.Key()
	encrypts.Use = "enc"
	ci.Show(shared, encrypts.Public())
	public, err := x509.MarshalPKIXPublicKey(ci.PublicKey().Key)
	if err != nil {
		t.Fatal(err)
	}
	public = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	good := signed(nil)
	e.wantGood(t, good)
	parts := strings.Split(good, ".")
	later := time.Now().Add(time.Minute).Unix()
	tests := map[string]string{
		"another audience":         signed(oidcissuer.Claims{"aud": "vault"}),
		"part of the audience":     signed(oidcissuer.Claims{"aud": []string{"coffe", "coffer2"}}),
		"no audience":              signed(oidcissuer.Claims{"aud": nil}),
		"expired":                  signed(oidcissuer.Claims{"exp": time.Now().Add(-2 * time.Second).Unix()}),
		"without an end":           signed(oidcissuer.Claims{"exp": nil}),
		"not yet valid":            signed(oidcissuer.Claims{"nbf": later}),
		"not yet valid, in words":  signed(oidcissuer.Claims{"nbf": "tomorrow"}),
		"no claim that is asked":   signed(oidcissuer.Claims{"owner": nil}),
		"another claim's value":    signed(oidcissuer.Claims{"owner": "examples"}),
		"the value in a list":      signed(oidcissuer.Claims{"owner": []string{"example"}}),
		"no name":                  signed(oidcissuer.Claims{"sub": nil}),
		"an empty name":            signed(oidcissuer.Claims{"sub": ""}),
		"groups that are none":     signed(oidcissuer.Claims{"groups": 7}),
		"one group that is none":   signed(oidcissuer.Claims{"groups": []any{"a", 7}}),
		"no signature":             oidcissuer.Unsigned(t, with(nil)),
		"signature cut off":        parts[0] + "." + parts[1] + ".",
		"changed payload":          parts[0] + "." + strings.Split(signed(oidcissuer.Claims{"sub": "admin"}), ".")[1] + "." + parts[2],
		"HS256 by a shared key":    oidcissuer.Sign(t, jose.HS256, shared, with(nil)),
		"HS256 by the public key":  oidcissuer.Sign(t, jose.HS256, named(ci.Key().KeyID, public), with(nil)),
		"by a key for encryption":  oidcissuer.Sign(t, jose.ES256, jose.JSONWebKey{Key: encrypts.Key, KeyID: encrypts.KeyID}, with(nil)),
		"by another issuer's key":  oidcissuer.Sign(t, jose.ES256, other.Key(), with(nil)),
		"by a key of a known name": oidcissuer.Sign(t, jose.ES256, named(ci.Key().KeyID, other.Key().Key), with(nil)),
		"by a key without a name":  oidcissuer.Sign(t, jose.ES256, named("", other.Key().Key), with(nil)),
	}
	for name, token := range tests {
		t.Run(name, func(t *testing.T) { e.wantErr(t, token, issuers.ErrRefused) })
	}
	for _, reason := range []string{"issuer.audiences", "claim nbf", "owner", "sub", "expired", "signature"} {
		if !strings.Contains(e.log.String(), reason) {
			t.Errorf("the log does not say that %s was the reason", reason)
		}
	}
}

// TestVerifyEmail: an address that its account does not own names nobody.
func TestVerifyEmail(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, strings.Replace(ci.Config(), "claim: sub", "claim: email", 1))
	email := func(verified any) string {
		return ci.Token(t, "1", oidcissuer.Claims{"email": "a@example.com", "email_verified": verified})
	}
	e.wantGood(t, email(true))
	e.wantGood(t, email(nil))
	e.wantErr(t, email(false), issuers.ErrRefused)
	e.wantErr(t, email("true"), issuers.ErrRefused)
}

// TestVerifyAudiencesOfTheFile: the manager's audience counts where the file says none.
func TestVerifyAudiencesOfTheFile(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, strings.Replace(ci.Config(), "    url:", "    audiences: [client-1, client-2]\n    url:", 1))
	e.wantGood(t, ci.Token(t, "x", oidcissuer.Claims{"aud": "client-2"}))
	e.wantErr(t, ci.Token(t, "x", nil), issuers.ErrRefused)
}

func TestForIsTheIssuerOfTheToken(t *testing.T) {
	ci, cloud, unknown := oidcissuer.Start(t), oidcissuer.Start(t), oidcissuer.Start(t)
	e := open(t, ci.Config()+cloud.Entry("cloud:"))
	for issuer, want := range map[*oidcissuer.Issuer]string{ci: "ci:x", cloud: "cloud:x"} {
		got, err := e.verify(t, issuer.Token(t, "x", nil))
		if err != nil || got.Name != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
	for name, token := range map[string]string{
		"another issuer":    unknown.Token(t, "x", nil),
		"a slash more":      ci.Token(t, "x", oidcissuer.Claims{"iss": ci.URL + "/"}),
		"no issuer":         ci.Token(t, "x", oidcissuer.Claims{"iss": nil}),
		"not a token":       "hello",
		"a list of issuers": ci.Token(t, "x", oidcissuer.Claims{"iss": []string{ci.URL}}),
	} {
		if e.For(t.Context(), token) != nil {
			t.Errorf("%s: an issuer is to verify it", name)
		}
	}
	if cloud.Fetches() != 1 || unknown.Fetches() != 0 {
		t.Errorf("keys were fetched %d and %d times", cloud.Fetches(), unknown.Fetches())
	}
}

func TestOwns(t *testing.T) {
	ci, cloud := oidcissuer.Start(t), oidcissuer.Start(t)
	e := open(t, ci.Config()+cloud.Entry("cloud:"))
	for name, test := range map[string]struct {
		user   string
		groups []string
		want   bool
	}{
		"another user":    {"alice", []string{"ops"}, false},
		"a like user":     {"cloudy", []string{"ci"}, false},
		"an issuer's":     {"cloud:alice", nil, true},
		"in its group":    {"alice", []string{"ops", "ci:ops"}, true},
		"of a longer one": {"aci:x", nil, false},
	} {
		if got := e.Owns(test.user, test.groups); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
