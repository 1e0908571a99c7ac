package servercert

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"
)

var names = Names{DNS: []string{"coffer.coffer-system.svc", "localhost"}, IPs: []net.IP{net.IPv4(10, 96, 0, 50)}}

func mustRenew(t *testing.T, b bundle, n Names, now time.Time) (bundle, bool) {
	t.Helper()
	renewed, changed, err := b.renew(n, now)
	if err != nil {
		t.Fatal(err)
	}
	return renewed, changed
}

func TestRenewedBundleServesItsNames(t *testing.T) {
	now := time.Now()
	b, changed := mustRenew(t, bundle{}, names, now)
	if !changed {
		t.Fatal("an empty bundle was kept")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b.caCert) {
		t.Fatal("the authority's certificate is not PEM")
	}
	pair, err := tls.X509KeyPair(b.cert, b.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"coffer.coffer-system.svc", "localhost", "10.96.0.50"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: now}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "elsewhere.example", CurrentTime: now}); err == nil {
		t.Error("the certificate is valid for a host it was not issued for")
	}
}

func TestRenewOnlyWhenDue(t *testing.T) {
	now := time.Now()
	first, _ := mustRenew(t, bundle{}, names, now)
	foreign, _ := mustRenew(t, bundle{}, names, now)
	tests := map[string]struct {
		stored        bundle
		names         Names
		now           time.Time
		changed       bool
		sameAuthority bool
	}{
		"fresh":                 {first, names, now, false, true},
		"a third left":          {first, names, now.Add(Lifetime - renewBefore + time.Minute), true, true},
		"other names":           {first, Names{DNS: []string{"coffer.other.svc"}}, now, true, true},
		"foreign authority":     {bundle{foreign.caCert, foreign.caKey, first.cert, first.key}, names, now, true, false},
		"damaged certificate":   {bundle{first.caCert, first.caKey, []byte("x"), first.key}, names, now, true, true},
		"damaged authority key": {bundle{first.caCert, []byte("x"), first.cert, first.key}, names, now, true, false},
		"authority at its end":  {first, names, now.AddDate(9, 11, 0), true, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, changed := mustRenew(t, test.stored, test.names, test.now)
			if changed != test.changed {
				t.Errorf("changed = %v, want %v", changed, test.changed)
			}
			if same := string(got.caCert) == string(first.caCert); same != test.sameAuthority {
				t.Errorf("same authority = %v, want %v", same, test.sameAuthority)
			}
		})
	}
}

func TestParseNames(t *testing.T) {
	got := ParseNames([]string{"coffer.svc", "10.0.0.1", "", "::1"})
	if len(got.DNS) != 1 || got.DNS[0] != "coffer.svc" || len(got.IPs) != 2 {
		t.Errorf("got %+v", got)
	}
}
