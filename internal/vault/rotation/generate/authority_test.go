package generate_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
)

// authorityOf makes an authority that ends after lifetime; parent signs it, or it itself. Its key is as openssl
// writes it.
func authorityOf(t *testing.T, name string, parent *generate.Authority, lifetime time.Duration) *generate.Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	issuer, signer, above := template, key, ""
	if parent != nil {
		certificate, _ := pem.Decode([]byte(parent.Certificate))
		private, _ := pem.Decode([]byte(parent.Key))
		if issuer, err = x509.ParseCertificate(certificate.Bytes); err != nil {
			t.Fatal(err)
		}
		if signer, err = x509.ParseECPrivateKey(private.Bytes); err != nil {
			t.Fatal(err)
		}
		above = parent.Certificate
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &generate.Authority{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + above,
		Key:         string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded})),
	}
}
