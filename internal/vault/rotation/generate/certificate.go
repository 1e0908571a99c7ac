package generate

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// Defaults and bounds of a certificate's time.
const (
	DefaultLifetime = 90 * 24 * time.Hour
	MinLifetime     = 10 * time.Minute
	MaxLifetime     = 10 * 365 * 24 * time.Hour
	// backdate lets a certificate count on machines whose clock is behind ours.
	backdate = 5 * time.Minute
)

// Usage is what a certificate may be shown for.
type Usage string

// The usages.
const (
	ServerAuth Usage = "server"
	ClientAuth Usage = "client"
)

var extended = map[Usage]x509.ExtKeyUsage{ServerAuth: x509.ExtKeyUsageServerAuth, ClientAuth: x509.ExtKeyUsageClientAuth}

// Certificate is an X.509 certificate with a new key each time. An Authority signs it, or else its own key.
type Certificate struct {
	CommonName     string   `json:"commonName,omitempty"`
	Organizations  []string `json:"organizations,omitempty"`
	DNSNames       []string `json:"dnsNames,omitempty"`
	IPAddresses    []string `json:"ipAddresses,omitempty"`
	URIs           []string `json:"uris,omitempty"`
	EmailAddresses []string `json:"emailAddresses,omitempty"`
	// Usages; none means server.
	Usages []Usage `json:"usages,omitempty"`
	// Lifetime such as "2160h", which is the default, from MinLifetime to MaxLifetime.
	Lifetime string `json:"lifetime,omitempty"`
	// RenewBefore is how long before its end a new one is made; a third of the lifetime when empty.
	RenewBefore string `json:"renewBefore,omitempty"`
	// Key is the kind of key; of EC with 256 bits when empty, which every client knows.
	Key KeyPair `json:"key,omitzero"`
}

// Check says what is missing or contradicts itself.
func (c Certificate) Check() error {
	if c.CommonName == "" && len(c.DNSNames)+len(c.IPAddresses)+len(c.URIs)+len(c.EmailAddresses) == 0 {
		return fmt.Errorf("%w: the certificate names nobody; give a commonName, or one of dnsNames, ipAddresses, uris and emailAddresses", ErrSpec)
	}
	if len(c.CommonName) > 64 { // ub-common-name of RFC 5280
		return fmt.Errorf("%w: the commonName has %d bytes, and may have 64; put long names into dnsNames", ErrSpec, len(c.CommonName))
	}
	for _, usage := range c.Usages {
		if _, known := extended[usage]; !known {
			return fmt.Errorf("%w: no certificate has the usage %q; there are server and client", ErrSpec, usage)
		}
	}
	if _, _, err := c.times(); err != nil {
		return err
	}
	if _, _, err := c.addresses(); err != nil {
		return err
	}
	return c.key().Check()
}

func (c Certificate) key() KeyPair {
	if c.Key == (KeyPair{}) {
		return KeyPair{Algorithm: EC}
	}
	return c.Key
}

// times are how long a certificate counts, and how long before its end it is renewed.
func (c Certificate) times() (lifetime, renewBefore time.Duration, err error) {
	lifetime = DefaultLifetime
	if c.Lifetime != "" {
		if lifetime, err = time.ParseDuration(c.Lifetime); err != nil {
			return 0, 0, fmt.Errorf("%w: the lifetime %q of the certificate is no duration such as 2160h", ErrSpec, c.Lifetime)
		}
	}
	if lifetime < MinLifetime || lifetime > MaxLifetime {
		return 0, 0, fmt.Errorf("%w: the lifetime %v of the certificate is not from %v to %v", ErrSpec, lifetime, MinLifetime, MaxLifetime)
	}
	renewBefore = lifetime / 3
	if c.RenewBefore != "" {
		if renewBefore, err = time.ParseDuration(c.RenewBefore); err != nil {
			return 0, 0, fmt.Errorf("%w: renewBefore %q of the certificate is no duration such as 720h", ErrSpec, c.RenewBefore)
		}
	}
	if renewBefore <= 0 || renewBefore >= lifetime {
		return 0, 0, fmt.Errorf("%w: renewBefore %v must be more than nothing and less than the lifetime, %v", ErrSpec, renewBefore, lifetime)
	}
	return lifetime, renewBefore, nil
}

func (c Certificate) addresses() (ips []net.IP, uris []*url.URL, err error) {
	for _, text := range c.IPAddresses {
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, nil, fmt.Errorf("%w: %q of ipAddresses is no IP address", ErrSpec, text)
		}
		ips = append(ips, ip)
	}
	for _, text := range c.URIs {
		uri, err := url.Parse(text)
		if err != nil || !uri.IsAbs() {
			return nil, nil, fmt.Errorf("%w: %q of uris is no absolute URI such as spiffe://example.org/api", ErrSpec, text)
		}
		uris = append(uris, uri)
	}
	return ips, uris, nil
}

func (c Certificate) generate(in Input) (map[string]string, error) {
	key, err := c.key().newKey()
	if err != nil {
		return nil, err
	}
	template, err := c.template(in.Now)
	if err != nil {
		return nil, err
	}
	signer := &signer{certificate: template, key: key}
	if in.Authority != nil {
		if signer, err = in.Authority.signer(template); err != nil {
			return nil, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.certificate, key.Public(), signer.key)
	if err != nil {
		return nil, fmt.Errorf("%w: the certificate cannot be encoded; look at its names: %w", ErrSpec, err)
	}
	private, err := encodePrivate(key)
	if err != nil {
		return nil, err
	}
	own := encode("CERTIFICATE", der)
	parts := map[string]string{CertificateProperty: own + signer.chain, PrivateKeyProperty: private, CAProperty: own}
	if in.Authority != nil {
		parts[CAProperty] = signer.root
	}
	return parts, nil
}

func (c Certificate) template(now time.Time) (*x509.Certificate, error) {
	lifetime, _, err := c.times()
	if err != nil {
		return nil, err
	}
	ips, uris, err := c.addresses()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	usages := c.Usages
	if len(usages) == 0 {
		usages = []Usage{ServerAuth}
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: c.CommonName, Organization: c.Organizations},
		DNSNames:     c.DNSNames, IPAddresses: ips, URIs: uris, EmailAddresses: c.EmailAddresses,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(lifetime),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
	}
	if c.key().algorithm() == RSA {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // for the key exchange of TLS before 1.3
	}
	for _, usage := range usages {
		template.ExtKeyUsage = append(template.ExtKeyUsage, extended[usage])
	}
	return template, nil
}

// newSerial is a positive number of 127 random bits; RFC 5280 wants at most 20 bytes, and CAs at least 64 random bits.
func newSerial() (*big.Int, error) {
	n, err := below(new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}

// RenewAt is when to make the next certificate in the place of the one that the property "certificate" holds.
func (c Certificate) RenewAt(certificate string) (time.Time, error) {
	_, renewBefore, err := c.times()
	if err != nil {
		return time.Time{}, err
	}
	leaf, err := parseCertificate(certificate)
	if err != nil {
		return time.Time{}, err
	}
	return leaf.NotAfter.Add(-renewBefore), nil
}

// parseCertificate reads the first certificate of a text in PEM.
func parseCertificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%w: there is no certificate in PEM where one should be", ErrSpec)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: a certificate in PEM is none of X.509: %w", ErrSpec, err)
	}
	return certificate, nil
}

// signer is who signs a certificate, and what is given with it.
type signer struct {
	certificate *x509.Certificate
	key         crypto.Signer
	// chain is what a server shows after its own certificate, and root whom a client believes, both in PEM.
	chain, root string
}
