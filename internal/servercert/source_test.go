package servercert

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/internal/testkit"
)

func testOptions(t *testing.T, namespace string) Options {
	t.Helper()
	c, err := client.New(testkit.Kube(t, "../../config/crd/bases"), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
		t.Fatal(err)
	}
	return Options{
		Namespace: namespace, SecretName: "coffer-api-tls", ConfigMapName: "coffer-ca",
		Names: names, Client: c, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

func leafOf(t *testing.T, s *Source) *x509.Certificate {
	t.Helper()
	pair, err := s.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// TestReplicasAgree starts several replicas at once: all must serve one
// certificate, the one in the Secret, from the authority in the ConfigMap.
func TestReplicasAgree(t *testing.T) {
	opts := testOptions(t, "replicas-agree")
	sources := make([]*Source, 5)
	errs := make([]error, len(sources))
	var wg sync.WaitGroup
	for i := range sources {
		wg.Go(func() { sources[i], errs[i] = New(t.Context(), opts) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("replica %d: %v", i, err)
		}
	}
	var stored corev1.Secret
	if err := opts.Client.Get(t.Context(), client.ObjectKey{Namespace: opts.Namespace, Name: opts.SecretName}, &stored); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(stored.Data[CertKey], stored.Data[KeyKey])
	if err != nil {
		t.Fatal(err)
	}
	var published corev1.ConfigMap
	if err := opts.Client.Get(t.Context(), client.ObjectKey{Namespace: opts.Namespace, Name: opts.ConfigMapName}, &published); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(published.Data[CACertKey]))
	for i, s := range sources {
		leaf := leafOf(t, s)
		if !leaf.Equal(pair.Leaf) {
			t.Errorf("replica %d serves another certificate than the Secret's", i)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: names.DNS[0]}); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
	}
	if _, leaked := published.Data[caKeyKey]; leaked {
		t.Error("the authority's key is published")
	}
}

func TestRefreshRenewsInPlace(t *testing.T) {
	opts := testOptions(t, "renews-in-place")
	now := time.Now()
	opts.Now = func() time.Time { return now }
	s, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	first := leafOf(t, s)
	for _, step := range []struct {
		after   time.Duration
		renewed bool
	}{{time.Hour, false}, {Lifetime - renewBefore, true}} {
		t.Run(fmt.Sprint(step.after), func(t *testing.T) {
			now = now.Add(step.after)
			if err := s.refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if renewed := !leafOf(t, s).Equal(first); renewed != step.renewed {
				t.Errorf("renewed = %v, want %v", renewed, step.renewed)
			}
		})
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	if _, err := New(t.Context(), Options{}); err == nil {
		t.Error("options that name no place were accepted")
	}
}
