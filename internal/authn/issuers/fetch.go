package issuers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

// maxAnswerBytes is far above what issuers answer, some KiB.
const maxAnswerBytes = 1 << 20

// newClient returns a client that trusts roots, or the system's authorities when nil.
func newClient(roots *x509.CertPool) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	return &http.Client{Transport: guarded{transport}}
}

// guarded lets only requests over https pass, and only answers that are the thing itself
// and not too large.
type guarded struct{ next http.RoundTripper }

var (
	errNotHTTPS = errors.New("it is not https")
	errTooLarge = fmt.Errorf("its answer has more than %d bytes", maxAnswerBytes)
)

// RoundTrip implements http.RoundTripper. An answer other than 200 is an error: a
// redirect is not followed, and the words of an error page are in no log.
func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errNotHTTPS
	}
	response, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("it answered %d", response.StatusCode)
	}
	response.Body = &bounded{response.Body, maxAnswerBytes}
	return response, nil
}

// bounded fails a body that is longer than left.
type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// fetchKeys discovers the issuer and returns its keys for signatures.
func fetchKeys(ctx context.Context, client *http.Client, issuer string) ([]jose.JSONWebKey, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), issuer)
	if err != nil {
		return nil, fmt.Errorf("discover the issuer: %w", err)
	}
	var discovered struct {
		JWKSURI string `json:"jwks_uri"`
	}
	if err := provider.Claims(&discovered); err != nil {
		return nil, fmt.Errorf("discover the issuer: %w", err)
	}
	if u, err := url.Parse(discovered.JWKSURI); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("discover the issuer: its jwks_uri is no https URL")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, discovered.JWKSURI, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("get the issuer's keys: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("get the issuer's keys: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		return nil, fmt.Errorf("read the issuer's keys: %w", err)
	}
	return signingKeys(set.Keys), nil
}

// signingKeys are those of a key set that can verify signatures. Others, and those of
// kinds that are not known, are no error (RFC 7517, section 5).
func signingKeys(set []json.RawMessage) []jose.JSONWebKey {
	var keys []jose.JSONWebKey
	for _, text := range set {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) != nil || !key.IsPublic() || !key.Valid() || key.Use != "" && key.Use != "sig" {
			continue
		}
		keys = append(keys, key)
	}
	return keys
}
