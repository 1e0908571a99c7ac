package sdk

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

// authorityMaxAge is after how long the file of the certificate authority is read again
// for a new request, as a token file is: who is not in it any more is not trusted for
// longer than that.
const authorityMaxAge = tokenMaxAge

// authorityFile is an http.RoundTripper over TLS that trusts the certificates of a file, and
// goes by the file when that changes: a program outlives the authority of a server, whose
// successor the kubelet puts into the mounted ConfigMap.
type authorityFile struct {
	file string
	now  func() time.Time

	mu        sync.Mutex
	pem       []byte
	readAt    time.Time
	transport *http.Transport // trusts pem
}

// newAuthorityFile fails when the file cannot be read or holds no certificate.
func newAuthorityFile(file string) (*authorityFile, error) {
	a := &authorityFile{file: file, now: time.Now}
	return a, a.read()
}

// RoundTrip implements http.RoundTripper. A request over a connection whose server is not
// trusted was never sent: it is sent once more when the file says something else by now.
func (a *authorityFile) RoundTrip(r *http.Request) (*http.Response, error) {
	trusting := a.current()
	response, err := trusting.RoundTrip(r)
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); !untrusted || r.GetBody == nil {
		return response, err
	}
	_ = a.read() // what cannot be read changes nothing
	renewed := a.current()
	if renewed == trusting {
		return response, err
	}
	body, bodyErr := r.GetBody()
	if bodyErr != nil {
		return response, err
	}
	again := r.Clone(r.Context())
	again.Body = body
	return renewed.RoundTrip(again)
}

// CloseIdleConnections is what http.Client calls for its own.
func (a *authorityFile) CloseIdleConnections() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.transport.CloseIdleConnections()
}

// current is the transport that trusts what the file said when it was read last. It reads
// the file when that is long ago.
func (a *authorityFile) current() *http.Transport {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.now().Sub(a.readAt) >= authorityMaxAge {
		_ = a.readLocked() // what cannot be read changes nothing
	}
	return a.transport
}

func (a *authorityFile) read() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.readLocked()
}

// readLocked reads the file, with a.mu held. When it says something else than before,
// connections that stand are left to the requests that are on them.
func (a *authorityFile) readLocked() error {
	a.readAt = a.now()
	pem, err := os.ReadFile(a.file)
	if err != nil {
		return fmt.Errorf("read the certificate authority (%s): %w", EnvCACert, err)
	}
	if a.transport != nil && bytes.Equal(pem, a.pem) {
		return nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read the certificate authority: %s holds no PEM certificate", a.file)
	}
	if a.transport != nil {
		a.transport.CloseIdleConnections()
	}
	a.pem, a.transport = pem, newTransport(roots)
	return nil
}

// A connection on which nothing has come for pingAfter is asked for a sign of life, and given
// up when none comes within pingPatience: what a device between has forgotten would take
// request after request, until the kernel gives it up after a quarter of an hour.
const (
	pingAfter    = 10 * time.Second
	pingPatience = 5 * time.Second
)

// newTransport trusts roots, or the system's when nil.
func newTransport(roots *x509.CertPool) *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingPatience}
	return transport
}
