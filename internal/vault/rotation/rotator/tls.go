package rotator

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
)

// TLS is how a system is spoken to. The zero value wants a certificate for the host, of an authority that this machine
// believes.
type TLS struct {
	// CA holds the authorities to believe in place of the machine's, in PEM.
	CA string `json:"ca,omitempty"`
	// ServerName is the name in the certificate when it is not the host.
	ServerName string `json:"serverName,omitempty"`
	// Disabled sends everything in the clear, the administrator's password included. It is for a system on this host.
	Disabled bool `json:"disabled,omitempty"`
}

// Config is for connections to host; nil when TLS is disabled.
func (t TLS) Config(host string) (*tls.Config, error) {
	if t.Disabled {
		if t.CA != "" || t.ServerName != "" {
			return nil, fmt.Errorf("%w: TLS is disabled and has settings; leave out either", ErrSetup)
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if config.ServerName == "" {
		config.ServerName = host
	}
	if t.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, fmt.Errorf("%w: the ca of tls holds no certificate in PEM", ErrSetup)
		}
	}
	return config, nil
}
