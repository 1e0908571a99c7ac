package keyring

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/sethvargo/go-retry"
)

const (
	// transitTimeout bounds one request; with its repetitions a call stays below the
	// ten seconds that a reload of the keyset may take.
	transitTimeout = 2500 * time.Millisecond
	transitRetries = 2
	transitBackoff = 200 * time.Millisecond
	// maxTransitAnswer bounds what is read of an answer.
	maxTransitAnswer = 64 << 10
	maxRefusalText   = 200
)

// transitAPI is the little of the HTTP API of OpenBao and Vault that a root key needs.
// Their client library would read addresses and tokens from the environment and
// follow redirects with the token.
type transitAPI struct {
	base, mount, namespace string
	client                 *http.Client
	login                  *transitLogin
}

// transitRefusal is an answer that the same request will get again.
type transitRefusal struct {
	url, text string
	status    int
}

func (r *transitRefusal) Error() string {
	return fmt.Sprintf("%s answered %d %s: %s", r.url, r.status, http.StatusText(r.status), r.text)
}

func newTransitAPI(c TransitConfig) (*transitAPI, error) {
	address, err := url.Parse(c.Address)
	if err != nil || address.Host == "" || address.Scheme != "https" && address.Scheme != "http" || address.User != nil ||
		address.RawQuery != "" || address.Fragment != "" {
		return nil, errors.New("it is not a URL like https://bao.example.com:8200")
	}
	if address.Scheme == "http" && !loopback(address.Hostname()) {
		return nil, errors.New("over plain http everybody on the way would read the root key; use https")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the CA file: %s has no PEM certificate", c.CAFile)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	api := &transitAPI{
		base: address.JoinPath("v1").String(), mount: c.Mount, namespace: c.Namespace,
		client: &http.Client{
			Transport: transport, Timeout: transitTimeout,
			// A redirect would carry the token and the local key elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	api.login, err = newTransitLogin(c)
	return api, err
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// transit asks the engine to do something with a key. A token that was refused is
// got anew once.
func (a *transitAPI) transit(ctx context.Context, do, key string, request transitRequest) (transitAnswer, error) {
	var answer struct {
		Data transitAnswer `json:"data"`
	}
	for again := false; ; again = true {
		token, err := a.login.token(ctx, a)
		if err != nil {
			return transitAnswer{}, err
		}
		err = a.post(ctx, token, a.mount+"/"+do+"/"+key, request, &answer)
		var refusal *transitRefusal
		if again || !errors.As(err, &refusal) || refusal.status != http.StatusForbidden || !a.login.forget() {
			return answer.Data, err
		}
	}
}

// post sends a request, and repeats it while the server is away for a moment: all that
// is asked here may be asked twice.
func (a *transitAPI) post(ctx context.Context, token, path string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	defer clear(body)
	err = retry.Do(ctx, retry.WithMaxRetries(transitRetries, retry.NewExponential(transitBackoff)), func(ctx context.Context) error {
		err := a.postOnce(ctx, token, path, body, answer)
		if isAway(err) {
			return retry.RetryableError(err)
		}
		return err
	})
	return err
}

func (a *transitAPI) postOnce(ctx context.Context, token, path string, body []byte, answer any) error {
	target := a.base + "/" + path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Vault-Request", "true")
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	if a.namespace != "" {
		request.Header.Set("X-Vault-Namespace", a.namespace)
	}
	response, err := a.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return away("the transit engine: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxTransitAnswer))
	if err != nil {
		return away("read the answer of %s: %w", target, err)
	}
	defer clear(text)
	if response.StatusCode != http.StatusOK {
		return refusalOf(target, response.StatusCode, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return away("%s answered with what is no JSON; is this OpenBao or Vault?", target)
	}
	return nil
}

func refusalOf(target string, status int, text []byte) error {
	var said struct {
		Errors []string `json:"errors"`
	}
	refusal := &transitRefusal{url: target, status: status, text: "no reason given"}
	if json.Unmarshal(text, &said) == nil && len(said.Errors) > 0 {
		refusal.text = said.Errors[0][:min(len(said.Errors[0]), maxRefusalText)]
	}
	switch {
	case status >= 300 && status < 400:
		return away("%w: a standby; redirects are not followed, name the active server or a load balancer", refusal)
	case status == http.StatusTooManyRequests, status == http.StatusPreconditionFailed, status >= 500:
		return awayError{refusal}
	}
	return refusal
}
