package generate

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// Authority signs certificates. Both parts are in PEM, and come from a secret.
type Authority struct {
	// Certificate is the authority's own, then those that lead to its root, if it is none itself.
	Certificate string
	// Key is its private key, as PKCS #8, or as openssl writes it: PKCS #1 or SEC 1.
	Key string
}

// CheckAuthority says whether a can sign.
func CheckAuthority(a Authority) error {
	_, err := a.signer(nil)
	return err
}

// signer checks that a may sign template, which is nil when there is none yet.
func (a Authority) signer(template *x509.Certificate) (*signer, error) {
	certificate, err := parseCertificate(a.Certificate)
	if err != nil {
		return nil, fmt.Errorf("the authority: %w", err)
	}
	key, err := parseKey(a.Key)
	if err != nil {
		return nil, fmt.Errorf("the authority: %w", err)
	}
	if !certificate.IsCA || certificate.KeyUsage != 0 && certificate.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("%w: the certificate of the authority does not allow it to sign others; give one with CA:TRUE and keyCertSign", ErrSpec)
	}
	if public, ok := certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return nil, fmt.Errorf("%w: the key of the authority is not that of its certificate", ErrSpec)
	}
	if template != nil && template.NotAfter.After(certificate.NotAfter) {
		return nil, fmt.Errorf("%w: the certificate would outlive its authority, which ends at %s; shorten its lifetime or renew the authority",
			ErrSpec, certificate.NotAfter.UTC().Format("2006-01-02T15:04:05Z"))
	}
	s := &signer{certificate: certificate, key: key}
	s.chain, s.root = chain(a.Certificate)
	return s, nil
}

// chain parts the certificates of an authority into those a server shows and the root, which clients have themselves.
func chain(text string) (shown, root string) {
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return shown, root
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue // the first was parsed; what is no certificate is shown to nobody
		}
		root = encode("CERTIFICATE", block.Bytes)
		if !bytes.Equal(certificate.RawIssuer, certificate.RawSubject) {
			shown += root
		}
	}
}

// parseKey reads a private key in PEM. No error repeats any of it.
func parseKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("%w: there is no private key in PEM where one should be", ErrSpec)
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%w: the PEM block %q is no private key; one without a passphrase, in PKCS #8, PKCS #1 or SEC 1, is wanted", ErrSpec, block.Type)
	}
	signing, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, fmt.Errorf("%w: the PEM block %q holds no private key that can sign", ErrSpec, block.Type)
	}
	return signing, nil
}
