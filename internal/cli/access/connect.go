package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// A connection on which nothing has come for pingAfter is asked for a sign of life, and given
// up when none comes within pingPatience, as the sdk does: a device between may have
// forgotten it.
const (
	pingAfter    = 10 * time.Second
	pingPatience = 5 * time.Second
)

// directTimeout is how long the Service's own address is tried: in the cluster, and with
// a route to it, it answers in milliseconds.
const directTimeout = time.Second

// Route says what is known of the way to the server already.
type Route struct {
	// Address is the server's URL; the installation's Service is looked for when empty.
	Address string
	// CACert is a file of certificates to trust; what the installation publishes when
	// empty.
	CACert string
}

// Connection is what a client of the server needs.
type Connection struct {
	Address string
	// Token is good now; HTTP sends a newer one in its place when it gets old.
	Token string
	HTTP  *http.Client
	// Forwarded says that HTTP goes through a port-forward, which ends with Close of the
	// installation.
	Forwarded bool
}

// Connect gets a token, the authority and a way to the server. The token is sent to who
// proves by its certificate to be the server, and to nobody else.
func (i *Installation) Connect(ctx context.Context, route Route) (Connection, error) {
	token, err := i.Token(ctx)
	if err != nil {
		return Connection{}, err
	}
	roots, err := i.roots(ctx, route.CACert)
	if err != nil {
		return Connection{}, err
	}
	transport := newTransport(roots)
	c := Connection{
		Address: route.Address, Token: token,
		HTTP: &http.Client{Transport: &bearer{next: transport, installation: i}, CheckRedirect: refuseRedirect},
	}
	if c.Address != "" {
		return c, nil
	}
	transport.Proxy = nil // the Service is not for a proxy to find
	service, err := i.findService(ctx)
	if err != nil {
		return Connection{}, err
	}
	c.Address = "https://" + net.JoinHostPort(service.host(), strconv.Itoa(int(service.port)))
	if answers(ctx, service, transport.TLSClientConfig) {
		return c, nil
	}
	through := newTunnel(func(ctx context.Context) (*forward, error) { return i.forwardTo(ctx, service) })
	i.tunnel.Store(through)
	if _, err := through.forward(ctx); err != nil {
		return Connection{}, err
	}
	transport.DialContext = through.dial
	c.Forwarded = true
	return c, nil
}

func newTransport(roots *x509.CertPool) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingPatience}
	return transport
}

func (i *Installation) roots(ctx context.Context, file string) (*x509.CertPool, error) {
	if file == "" {
		return i.authority(ctx)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the certificate authority: %s holds no PEM certificate", file)
	}
	return pool, nil
}

// answers reports whether the Service can be reached by its name. Some networks resolve
// every name: only its certificate counts.
func answers(ctx context.Context, service endpoint, config *tls.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	d := tls.Dialer{Config: config}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(service.host(), strconv.Itoa(int(service.port))))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

var errRedirect = errors.New("the server sent a redirect, which is not followed: name the server itself with --address")

func refuseRedirect(*http.Request, []*http.Request) error { return errRedirect }

// bearer sends the token of an installation, renewed in time, for commands that go on for
// longer than a token lives.
type bearer struct {
	next         http.RoundTripper
	installation *Installation
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.installation.Token(r.Context())
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := b.next.RoundTrip(r)
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		b.installation.forget(token)
	}
	return response, err
}
