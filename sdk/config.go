package sdk

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Environment variables that fill what a Config leaves empty.
const (
	EnvAddress   = "COFFER_ADDR"
	EnvToken     = "COFFER_TOKEN"
	EnvTokenFile = "COFFER_TOKEN_FILE"
	EnvCACert    = "COFFER_CACERT"
)

// Where a pod finds Coffer when nothing else is said: the Service of the default
// installation, and a projected volume with a token for Coffer's audience and,
// beside it, the certificate authority.
const (
	DefaultAddress   = "https://coffer.coffer-system.svc"
	DefaultTokenFile = "/var/run/secrets/coffer.dev/token"
	DefaultCACert    = "/var/run/secrets/coffer.dev/ca.crt"
)

// Config says where the server is and who the caller is. The zero Config reads the
// environment, and falls back to what a pod has.
type Config struct {
	// Address is the server's URL, such as "https://coffer.example"; COFFER_ADDR or
	// DefaultAddress when empty. Plain http is accepted for loopback addresses only.
	Address string
	// Token is a bearer token for Coffer's audience; COFFER_TOKEN when both it and
	// TokenFile are empty.
	Token string
	// TokenFile holds a token and is read again as it is renewed; COFFER_TOKEN_FILE or
	// DefaultTokenFile when there is no token.
	TokenFile string
	// CACert is a file of PEM certificates to trust in place of the system's, and is read
	// again as it changes; COFFER_CACERT, or DefaultCACert when it exists, when empty.
	CACert string
	// HTTPClient is used as it is when not nil; CACert is not read then.
	HTTPClient *http.Client
	// Retries is how often a call that can be repeated safely is tried again;
	// DefaultRetries when 0, none when negative.
	Retries int
	// UserAgent is sent along; "coffer-sdk-go" when empty.
	UserAgent string
	// Hooks hear what the client does.
	Hooks Hooks
}

// DefaultRetries spans about 3 s in all: enough for a server to be replaced.
const DefaultRetries = 4

// callTimeout bounds one attempt when the context does not.
const callTimeout = 30 * time.Second

// withDefaults fills in c from the environment and the defaults of a pod.
func (c Config) withDefaults() Config {
	if c.Address == "" {
		c.Address = firstOf(os.Getenv(EnvAddress), DefaultAddress)
	}
	if c.Token == "" && c.TokenFile == "" {
		c.Token = os.Getenv(EnvToken)
	}
	if c.Token == "" && c.TokenFile == "" {
		c.TokenFile = firstOf(os.Getenv(EnvTokenFile), DefaultTokenFile)
	}
	if c.CACert == "" {
		c.CACert = os.Getenv(EnvCACert)
	}
	if c.CACert == "" {
		if _, err := os.Stat(DefaultCACert); err == nil {
			c.CACert = DefaultCACert
		}
	}
	if c.Retries == 0 {
		c.Retries = DefaultRetries
	}
	if c.UserAgent == "" {
		c.UserAgent = "coffer-sdk-go"
	}
	return c
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// parseAddress refuses addresses over which a token or a value could be overheard.
func parseAddress(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the server's address cannot be read: %w; write it like %s", err, DefaultAddress)
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the server's address %q is not a plain URL; write it like %s", s, DefaultAddress)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		u.Path = strings.TrimSuffix(u.Path, "/")
		return u, nil
	default:
		return nil, fmt.Errorf("the server's address %q is not https: its answers could be overheard", s)
	}
}

func isLoopback(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

// newHTTPClient trusts the certificates of caFile as it changes, or the system's when
// empty. It follows no redirects: a token is for the server that was named.
func newHTTPClient(caFile string) (*http.Client, error) {
	client := &http.Client{CheckRedirect: refuseRedirect}
	if caFile == "" {
		client.Transport = newTransport(nil)
		return client, nil
	}
	trusted, err := newAuthorityFile(caFile)
	if err != nil {
		return nil, err
	}
	client.Transport = trusted
	return client, nil
}

var errRedirect = errors.New("the server sent a redirect, which is not followed: name the server itself")

func refuseRedirect(*http.Request, []*http.Request) error { return errRedirect }
