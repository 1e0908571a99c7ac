// Package oidcissuer is a small OpenID Connect issuer for tests: discovery, a key set that
// can be rotated, and tokens with whatever claims.
package oidcissuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Claims of a token; nil values are left out.
type Claims map[string]any

// Issuer serves over TLS on loopback until its test ends.
type Issuer struct {
	// URL is its name, and CA the certificate that signs its own, in PEM.
	URL string
	CA  string

	server *httptest.Server

	mu       sync.Mutex
	key      jose.JSONWebKey   // the one that signs
	shown    []jose.JSONWebKey // those of the key set
	fetches  int
	failWith http.HandlerFunc
	change   func(document map[string]any)
}

// Start starts one with a key.
func Start(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /keys", i.keys)
	i.server = httptest.NewTLSServer(mux)
	t.Cleanup(i.server.Close)
	i.URL = i.server.URL
	i.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw}))
	i.Rotate(t)
	return i
}

// Rotate signs with a new key from now on, and shows that one only.
func (i *Issuer) Rotate(t testing.TB) {
	t.Helper()
	key := newKey(t)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.shown = key, []jose.JSONWebKey{key.Public()}
}

// Show adds keys to the key set, whatever they are.
func (i *Issuer) Show(keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.shown = append(i.shown, keys...)
}

// Key is the one that signs, with its private part.
func (i *Issuer) Key() jose.JSONWebKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.key
}

// PublicKey is its public part.
func (i *Issuer) PublicKey() jose.JSONWebKey {
	key := i.Key()
	return key.Public()
}

// Fetches is how often the key set was asked for.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}

// Answer has every request answered by handler; as an issuer does when it is nil.
func (i *Issuer) Answer(handler http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failWith = handler
}

// Fail has every request answered with 503.
func (i *Issuer) Fail() {
	i.Answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusServiceUnavailable) })
}

// Discover has the discovery document changed before it is sent.
func (i *Issuer) Discover(change func(document map[string]any)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.change = change
}

// Token is a token of sub for the audience "coffer", good for five minutes, with claims
// besides or in place of the usual.
func (i *Issuer) Token(t testing.TB, sub string, claims Claims) string {
	t.Helper()
	key := i.Key()
	return Sign(t, jose.ES256, key, i.Payload(sub, claims))
}

// Payload is what Token signs.
func (i *Issuer) Payload(sub string, claims Claims) Claims {
	now := time.Now()
	all := Claims{
		"iss": i.URL, "sub": sub, "aud": "coffer", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": rand.Text(),
	}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return all
}

// Sign makes a token.
func Sign(t testing.TB, algorithm jose.SignatureAlgorithm, key jose.JSONWebKey, claims Claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Unsigned is a token of the algorithm none.
func Unsigned(t testing.TB, claims Claims) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(payload) + "."
}

// Config is a file that names the issuer, with the prefix "ci:" for users and groups;
// more are further lines of the issuer, such as rules.
func (i *Issuer) Config(more ...string) string {
	return "apiVersion: vault.coffer.dev/v1alpha1\nkind: AuthenticationConfiguration\njwt:\n" + i.Entry("ci:", more...)
}

// Entry is the issuer's part of a file.
func (i *Issuer) Entry(prefix string, more ...string) string {
	authority := "      " + strings.ReplaceAll(strings.TrimSpace(i.CA), "\n", "\n      ")
	return fmt.Sprintf(`- issuer:
    url: %s
    certificateAuthority: |
%s
  claimMappings:
    username: {claim: sub, prefix: %q}
    groups: {claim: groups, prefix: %[3]q}
%s`, i.URL, authority, prefix, strings.Join(append(more, ""), "\n"))
}

func (i *Issuer) discovery(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	failWith, change := i.failWith, i.change
	i.mu.Unlock()
	if failWith != nil {
		failWith(w, r)
		return
	}
	document := map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"},
	}
	if change != nil {
		change(document)
	}
	answer(w, document)
}

func (i *Issuer) keys(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.fetches++
	failWith, shown := i.failWith, i.shown
	i.mu.Unlock()
	if failWith != nil {
		failWith(w, r)
		return
	}
	answer(w, jose.JSONWebKeySet{Keys: shown})
}

func answer(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document)
}

func newKey(t testing.TB) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: rand.Text(), Algorithm: string(jose.ES256), Use: "sig"}
}
