package generate_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
)

var now = time.Date(2026, 3, 29, 1, 30, 0, 0, time.UTC)

// made is what the generator makes that the JSON describes.
func made(t *testing.T, spec string, authority *generate.Authority) map[string]string {
	t.Helper()
	parts, err := parse(t, spec).Generate(generate.Input{Now: now, Authority: authority})
	if err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return parts
}

func parse(t *testing.T, spec string) generate.Spec {
	t.Helper()
	var s generate.Spec
	if err := json.Unmarshal([]byte(spec), &s); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return s
}

func TestUUID(t *testing.T) {
	id, err := uuid.Parse(made(t, `{"uuid":{}}`, nil)["uuid"])
	if err != nil || id.Version() != 4 || id.Variant() != uuid.RFC4122 {
		t.Errorf("made a UUID of version %v, variant %v, %v", id.Version(), id.Variant(), err)
	}
}

// bits is how large a public key is.
func bits(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("EC %d", key.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", public)
}

func TestKeyPairsFitTogether(t *testing.T) {
	for spec, want := range map[string]string{
		`{"keyPair":{}}`:                              "Ed25519",
		`{"keyPair":{"algorithm":"Ed25519"}}`:         "Ed25519",
		`{"keyPair":{"algorithm":"EC"}}`:              "EC 256",
		`{"keyPair":{"algorithm":"EC","size":521}}`:   "EC 521",
		`{"keyPair":{"algorithm":"RSA","size":2048}}`: "RSA 2048",
	} {
		parts := made(t, spec, nil)
		private, _ := pem.Decode([]byte(parts["privateKey"]))
		public, _ := pem.Decode([]byte(parts["publicKey"]))
		key, err := x509.ParsePKCS8PrivateKey(private.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		other, err := x509.ParsePKIXPublicKey(public.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		own := key.(crypto.Signer).Public()
		if got := bits(own); got != want || !own.(interface{ Equal(crypto.PublicKey) bool }).Equal(other) {
			t.Errorf("%s: made %s, want %s, or the public key is another's", spec, got, want)
		}
	}
}

func TestSSHKeysFitTogether(t *testing.T) {
	for spec, want := range map[string]string{
		`{"sshKey":{"comment":"deploy@production"}}`:                               "ssh-ed25519",
		`{"sshKey":{"algorithm":"EC","size":384,"comment":"deploy@production"}}`:   "ecdsa-sha2-nistp384",
		`{"sshKey":{"algorithm":"RSA","size":2048,"comment":"deploy@production"}}`: "ssh-rsa",
	} {
		parts := made(t, spec, nil)
		key, err := ssh.ParsePrivateKey([]byte(parts["privateKey"]))
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		public, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(parts["publicKey"]))
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		if public.Type() != want || comment != "deploy@production" || string(public.Marshal()) != string(key.PublicKey().Marshal()) {
			t.Errorf("%s: made %s with the comment %q, want %s, or the public key is another's", spec, public.Type(), comment, want)
		}
	}
}

const server = `{"certificate":{"commonName":"db","dnsNames":["db.example.org"],"ipAddresses":["10.0.0.7"],"lifetime":"2h","renewBefore":"30m"}}`

// verify checks the certificate against the authority that came with it, as a client that knows the root only.
func verify(t *testing.T, parts map[string]string, usage x509.ExtKeyUsage) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode([]byte(parts["certificate"]))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(parts["ca"]))
	between.AppendCertsFromPEM(rest)
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, DNSName: "db.example.org", KeyUsages: []x509.ExtKeyUsage{usage},
	}); err != nil {
		t.Error(err)
	}
	key, _ := pem.Decode([]byte(parts["privateKey"]))
	private, err := x509.ParsePKCS8PrivateKey(key.Bytes)
	if err != nil || !private.(crypto.Signer).Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(leaf.PublicKey) {
		t.Errorf("the key is not the certificate's (%v)", err)
	}
	return leaf
}

func TestSelfSignedCertificate(t *testing.T) {
	parts := made(t, server, nil)
	leaf := verify(t, parts, x509.ExtKeyUsageServerAuth)
	if leaf.IsCA || !leaf.NotAfter.Equal(now.Add(2*time.Hour)) || !leaf.NotBefore.Before(now) || bits(leaf.PublicKey) != "EC 256" {
		t.Errorf("CA: %v, from %v to %v, %s", leaf.IsCA, leaf.NotBefore, leaf.NotAfter, bits(leaf.PublicKey))
	}
	at, err := parse(t, server).Certificate.RenewAt(parts["certificate"])
	if err != nil || !at.Equal(now.Add(90*time.Minute)) {
		t.Errorf("renewed at %v, %v; want half an hour before its end", at, err)
	}
	if again := verify(t, made(t, server, nil), x509.ExtKeyUsageServerAuth); again.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
		t.Error("two certificates have the same serial number")
	}
}

func TestCertificateOfAnAuthority(t *testing.T) {
	root := authorityOf(t, "root", nil, 48*time.Hour)
	between := authorityOf(t, "between", root, 24*time.Hour)
	for name, signer := range map[string]*generate.Authority{"root": root, "between": between} {
		parts := made(t, `{"certificate":{"dnsNames":["db.example.org"],"usages":["client"],"lifetime":"12h","key":{"algorithm":"RSA","size":2048}}}`, signer)
		leaf := verify(t, parts, x509.ExtKeyUsageClientAuth)
		if leaf.Issuer.CommonName != name || strings.Count(parts["ca"], "BEGIN") != 1 {
			t.Errorf("signed by %q, want %q; %d authorities", leaf.Issuer.CommonName, name, strings.Count(parts["ca"], "BEGIN"))
		}
	}
}

func TestAuthorityThatCannotSign(t *testing.T) {
	root, other := authorityOf(t, "root", nil, time.Hour), authorityOf(t, "other", nil, time.Hour)
	leaf := made(t, `{"certificate":{"commonName":"leaf"}}`, nil)
	for _, tc := range []struct {
		name      string
		authority generate.Authority
		want      string
	}{
		{"ends first", *root, "would outlive its authority, which ends at 2026-03-29T02:30:00Z"},
		{"another's key", generate.Authority{Certificate: root.Certificate, Key: other.Key}, "not that of its certificate"},
		{"no authority", generate.Authority{Certificate: leaf["certificate"], Key: leaf["privateKey"]}, "does not allow it to sign others"},
		{"no PEM", generate.Authority{Certificate: "hello", Key: root.Key}, "no certificate in PEM"},
		{"no key", generate.Authority{Certificate: root.Certificate, Key: root.Certificate}, "is no private key"},
		{"no key at all", generate.Authority{Certificate: root.Certificate}, "no private key in PEM"},
	} {
		_, err := parse(t, `{"certificate":{"commonName":"db","lifetime":"2h"}}`).Generate(generate.Input{Now: now, Authority: &tc.authority})
		if !errors.Is(err, generate.ErrSpec) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
	}
	if err := generate.CheckAuthority(*root); err != nil {
		t.Error(err)
	}
}

func TestSpecsThatAreRefused(t *testing.T) {
	for spec, want := range map[string]string{
		`{}`:                              "names 0 things to make",
		`{"uuid":{},"password":{}}`:       "names 2 things to make",
		`{"keyPair":{"algorithm":"DSA"}}`: `algorithm "DSA"; there are RSA, EC and Ed25519`,
		`{"keyPair":{"algorithm":"RSA","size":1024}}`:                           "no RSA key is made with 1024 bits; there are [3072 2048 4096]",
		`{"keyPair":{"algorithm":"Ed25519","size":256}}`:                        "leave out the size",
		`{"sshKey":{"comment":"a\nb"}}`:                                         "control character",
		`{"certificate":{}}`:                                                    "names nobody",
		`{"certificate":{"commonName":"a","lifetime":"soon"}}`:                  "no duration such as 2160h",
		`{"certificate":{"commonName":"a","lifetime":"1m"}}`:                    "is not from 10m0s",
		`{"certificate":{"commonName":"a","lifetime":"1h","renewBefore":"1h"}}`: "less than the lifetime",
		`{"certificate":{"commonName":"a","ipAddresses":["10.0.0"]}}`:           "no IP address",
		`{"certificate":{"commonName":"a","uris":["api"]}}`:                     "no absolute URI",
		`{"certificate":{"commonName":"a","usages":["code"]}}`:                  `usage "code"`,
		`{"certificate":{"commonName":"a","key":{"algorithm":"EC","size":1}}}`:  "no EC key is made with 1 bits",
		`{"certificate":{"commonName":"` + strings.Repeat("a", 65) + `"}}`:      "has 65 bytes, and may have 64",
	} {
		err := parse(t, spec).Check()
		if !errors.Is(err, generate.ErrSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", spec, err, want)
		}
	}
}
