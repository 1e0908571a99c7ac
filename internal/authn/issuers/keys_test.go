package issuers_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/authority"
	"github.com/coffer-vault/coffer/internal/testkit/oidcissuer"
)

func TestKeysAreFetchedOnce(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, ci.Config())
	var group sync.WaitGroup
	for range 20 {
		token := ci.Token(t, "x", nil)
		group.Go(func() { e.wantGood(t, token) })
	}
	group.Wait()
	if got := ci.Fetches(); got != 1 {
		t.Errorf("keys were fetched %d times", got)
	}
}

// TestKeysAreRotated: a token by a key that is not known yet has the keys fetched again.
func TestKeysAreRotated(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, ci.Config())
	old := ci.Token(t, "x", nil)
	e.wantGood(t, old)
	ci.Rotate(t)
	e.pass(10 * time.Second)
	e.wantGood(t, ci.Token(t, "x", nil))
	e.wantErr(t, old, issuers.ErrRefused) // its key is not shown any more
	if got := ci.Fetches(); got != 2 {
		t.Errorf("keys were fetched %d times", got)
	}
}

// TestMadeUpKeysAreNoBurden: who makes keys up has the issuer asked once in ten seconds,
// and a wrong signature by a known key never.
func TestMadeUpKeysAreNoBurden(t *testing.T) {
	ci, other := oidcissuer.Start(t), oidcissuer.Start(t)
	e := open(t, ci.Config())
	e.wantGood(t, ci.Token(t, "x", nil))
	wrong := jose.JSONWebKey{Key: other.Key().Key, KeyID: ci.Key().KeyID}
	for range 3 {
		e.pass(10 * time.Second)
		e.wantErr(t, oidcissuer.Sign(t, jose.ES256, wrong, ci.Payload("x", nil)), issuers.ErrRefused)
	}
	if got := ci.Fetches(); got != 1 {
		t.Errorf("wrong signatures had keys fetched %d times", got-1)
	}
	for range 20 {
		other.Rotate(t)
		e.wantErr(t, oidcissuer.Sign(t, jose.ES256, other.Key(), ci.Payload("x", nil)), issuers.ErrRefused)
	}
	if got := ci.Fetches(); got != 2 {
		t.Errorf("keys that nobody knows had keys fetched %d times", got-1)
	}
}

// TestWithdrawnKeysEnd: a key is not believed for as long as its tokens come.
func TestWithdrawnKeysEnd(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, ci.Config())
	leaked := ci.Token(t, "x", oidcissuer.Claims{"exp": time.Now().Add(time.Hour).Unix()})
	e.wantGood(t, leaked)
	ci.Rotate(t)
	e.pass(5*time.Minute - time.Second)
	e.wantGood(t, leaked)
	e.pass(time.Second)
	testkit.Eventually(t, time.Minute, func() string { // the keys of before serve while a fetch is slow
		if _, err := e.verify(t, leaked); !errors.Is(err, issuers.ErrRefused) {
			return fmt.Sprintf("the withdrawn key is still believed: %v", err)
		}
		return ""
	})
}

// TestWithoutTheIssuer: what cannot be checked is not refused, known keys serve for an
// hour, and the issuer is asked again when it may be back.
func TestWithoutTheIssuer(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, ci.Config())
	token := ci.Token(t, "x", oidcissuer.Claims{"exp": time.Now().Add(3 * time.Hour).Unix()})
	ci.Fail()
	e.wantErr(t, token, issuers.ErrUnavailable)
	ci.Answer(nil)
	e.wantErr(t, token, issuers.ErrUnavailable) // it was asked just now
	e.pass(10 * time.Second)
	e.wantGood(t, token)

	ci.Fail()
	for range 5 {
		e.pass(10 * time.Minute)
		e.wantGood(t, token)
	}
	unknown := oidcissuer.Start(t).Key()
	e.wantErr(t, oidcissuer.Sign(t, jose.ES256, unknown, ci.Payload("x", nil)), issuers.ErrUnavailable)
	e.pass(10 * time.Minute)
	e.wantErr(t, token, issuers.ErrUnavailable)
	ci.Answer(nil)
	e.pass(10 * time.Second)
	e.wantGood(t, token)
}

// TestUnusualKeys: keys of unknown kinds do not hide the others. A key set may be on
// another host than its issuer.
func TestUnusualKeys(t *testing.T) {
	ci := oidcissuer.Start(t)
	e := open(t, ci.Config())
	known, err := ci.PublicKey().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"keys":[{"kty":"AKP","alg":"ML-DSA-44"},7,` + string(known) + `]}`))
	}))
	t.Cleanup(elsewhere.Close)
	ci.Discover(func(document map[string]any) { document["jwks_uri"] = elsewhere.URL })
	e.wantGood(t, ci.Token(t, "x", nil))
}

// TestIssuersThatCannotBeAsked: each is an outage, with the reason, and not the token's fault.
func TestIssuersThatCannotBeAsked(t *testing.T) {
	elsewhere := 0
	target := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	t.Cleanup(target.Close)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	t.Cleanup(plain.Close)
	document := func(name string, value any) func(*oidcissuer.Issuer) {
		return func(i *oidcissuer.Issuer) { i.Discover(func(d map[string]any) { d[name] = value }) }
	}
	answer := func(handler http.HandlerFunc) func(*oidcissuer.Issuer) {
		return func(i *oidcissuer.Issuer) { i.Answer(handler) }
	}
	tests := map[string]struct {
		spoil func(*oidcissuer.Issuer)
		want  string
	}{
		"a redirect": {answer(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) }), "it answered 302"},
		"an error":   {answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", http.StatusInternalServerError) }), "it answered 500"},
		"too much": {answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"issuer":"` + strings.Repeat("a", 1<<20) + `"}`))
		}), "more than 1048576 bytes"},
		"no JSON":          {answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }), "discover the issuer"},
		"another issuer":   {document("issuer", "https://other.example.com"), "did not match"},
		"keys over http":   {document("jwks_uri", plain.URL), "no https URL"},
		"keys in a file":   {document("jwks_uri", "file:///etc/passwd"), "no https URL"},
		"no keys at all":   {document("jwks_uri", ""), "no https URL"},
		"keys not trusted": {document("jwks_uri", "https://localhost:1/keys"), "get the issuer's keys"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ci := oidcissuer.Start(t)
			test.spoil(ci)
			e := open(t, ci.Config())
			_, err := e.verify(t, ci.Token(t, "x", nil))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
			e.wantErr(t, ci.Token(t, "x", nil), issuers.ErrUnavailable)
		})
	}
	if elsewhere > 0 {
		t.Errorf("%d requests went elsewhere", elsewhere)
	}
}

// TestTheAuthorityOfTheFileCounts: an issuer whose certificate is by none that the file
// names is not believed.
func TestTheAuthorityOfTheFileCounts(t *testing.T) {
	ci := oidcissuer.Start(t)
	ci.CA = string(authority.New(t, "another").PEM)
	e := open(t, ci.Config())
	e.wantErr(t, ci.Token(t, "x", nil), issuers.ErrUnavailable)
}
