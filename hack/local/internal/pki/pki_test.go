package pki_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/coffer-vault/coffer/hack/local/internal/pki"
)

func TestIssuedCertificateNamesItsSubjectAndIsTrusted(t *testing.T) {
	ca, err := pki.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Subject{User: "system:node:n", Groups: []string{"system:nodes"}, Hosts: []string{"n.local", "10.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	for _, host := range []string{"n.local", "10.0.0.1"} {
		if _, err := loaded.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots}); err != nil {
			t.Errorf("as server %s: %v", host, err)
		}
	}
	if _, err := loaded.Leaf.Verify(x509.VerifyOptions{DNSName: "other.local", Roots: roots}); err == nil {
		t.Error("good for a host it does not name")
	}
	if got := loaded.Leaf.Subject.String(); got != "CN=system:node:n,O=system:nodes" {
		t.Errorf("subject is %q", got)
	}
}

func TestClientCertificateIsNoServers(t *testing.T) {
	ca, err := pki.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Subject{User: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Cert)
	if _, err := loaded.Leaf.Verify(x509.VerifyOptions{Roots: roots}); err == nil { // server use is the default
		t.Error("a client's certificate is accepted from a server")
	}
}
