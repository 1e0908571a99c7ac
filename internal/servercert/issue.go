package servercert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// Lifetime of a server certificate: 90 days, the common lifetime of
// automatically renewed certificates. It is renewed when a third is left.
const (
	Lifetime    = 90 * 24 * time.Hour
	renewBefore = Lifetime / 3
	// clockSkew lets a client whose clock is behind accept a fresh certificate.
	clockSkew = time.Hour
)

// Names are what the certificate is valid for. The first DNS name is the common
// name.
type Names struct {
	DNS []string
	IPs []net.IP
}

// ParseNames sorts host names and IP addresses apart.
func ParseNames(hosts []string) Names {
	var names Names
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			names.IPs = append(names.IPs, ip)
		} else if host != "" {
			names.DNS = append(names.DNS, host)
		}
	}
	return names
}

// bundle is the content of the Secret, all PEM.
type bundle struct{ caCert, caKey, cert, key []byte }

// renew returns a bundle that is valid for names at now: b itself when it still
// serves, otherwise with a new server certificate, and with a new authority when
// b has none that outlives one.
func (b bundle) renew(names Names, now time.Time) (renewed bundle, changed bool, err error) {
	authority, authorityKey, err := b.authority(now)
	if err != nil {
		if b, authority, authorityKey, err = newAuthority(); err != nil {
			return bundle{}, false, err
		}
	}
	if b.serves(authority, names, now) {
		return b, false, nil
	}
	if b.cert, b.key, err = issue(authority, authorityKey, names, now); err != nil {
		return bundle{}, false, err
	}
	return b, true, nil
}

func (b bundle) authority(now time.Time) (*x509.Certificate, crypto.Signer, error) {
	authorities, err := cert.ParseCertsPEM(b.caCert)
	if err != nil {
		return nil, nil, err
	}
	key, err := keyutil.ParsePrivateKeyPEM(b.caKey)
	if err != nil {
		return nil, nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("the authority's key cannot sign")
	}
	if now.Add(Lifetime).After(authorities[0].NotAfter) {
		return nil, nil, errors.New("the authority ends before a certificate issued now would")
	}
	return authorities[0], signer, nil
}

func newAuthority() (bundle, *x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return bundle{}, nil, nil, err
	}
	authority, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "coffer-ca", Organization: []string{"Coffer"}}, key)
	if err != nil {
		return bundle{}, nil, nil, err
	}
	caCert, err := cert.EncodeCertificates(authority)
	if err != nil {
		return bundle{}, nil, nil, err
	}
	caKey, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return bundle{}, nil, nil, err
	}
	return bundle{caCert: caCert, caKey: caKey}, authority, key, nil
}

func issue(authority *x509.Certificate, authorityKey crypto.Signer, names Names, now time.Time) (certPEM, keyPEM []byte, err error) {
	if len(names.DNS) == 0 {
		return nil, nil, errors.New("a server certificate needs a DNS name")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	// RFC 5280, 4.1.2.2: a positive integer of at most 20 octets.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, nil, err
	}
	template := x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names.DNS[0]},
		DNSNames:     names.DNS,
		IPAddresses:  names.IPs,
		NotBefore:    now.Add(-clockSkew).UTC(),
		NotAfter:     now.Add(Lifetime).UTC(),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, authority, key.Public(), authorityKey)
	if err != nil {
		return nil, nil, fmt.Errorf("issue the server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if certPEM, err = cert.EncodeCertificates(leaf); err != nil {
		return nil, nil, err
	}
	keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key)
	return certPEM, keyPEM, err
}

// serves reports whether the server certificate is from authority, is for just
// these names, and is not yet due.
func (b bundle) serves(authority *x509.Certificate, names Names, now time.Time) bool {
	pair, err := tls.X509KeyPair(b.cert, b.key)
	if err != nil {
		return false
	}
	return pair.Leaf.CheckSignatureFrom(authority) == nil &&
		slices.Equal(pair.Leaf.DNSNames, names.DNS) &&
		slices.EqualFunc(pair.Leaf.IPAddresses, names.IPs, net.IP.Equal) &&
		now.Add(renewBefore).Before(pair.Leaf.NotAfter)
}
