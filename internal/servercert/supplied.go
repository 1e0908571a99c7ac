package servercert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// SuppliedAuthority publishes the authority of a certificate that somebody supplies: what
// stands in the file ca.crt beside it, where cert-manager and others put it. Without that
// file clients trust the system's authorities, and nothing is published. A ConfigMap that
// somebody else wrote is left as it is.
type SuppliedAuthority struct {
	// Dir has the certificate.
	Dir string
	// Namespace and ConfigMapName say where its authority is published.
	Namespace, ConfigMapName string
	// Client reads and writes without a cache.
	Client client.Client
	Logger *slog.Logger
}

// Start publishes, as the leader, until ctx ends. It looks at the file each minute.
func (s *SuppliedAuthority) Start(ctx context.Context) error {
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	for {
		if err := retry.OnError(retry.DefaultBackoff, lostRace, func() error { return s.refresh(ctx) }); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "the authority of the supplied certificate could not be published; it is tried again", "error", err, "in", recheck)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *SuppliedAuthority) refresh(ctx context.Context) error {
	caCert, err := s.read()
	if err != nil {
		return err
	}
	key := client.ObjectKey{Namespace: s.Namespace, Name: s.ConfigMapName}
	var published corev1.ConfigMap
	err = s.Client.Get(ctx, key, &published)
	missing := apierrors.IsNotFound(err)
	switch {
	case err != nil && !missing:
		return err
	case !missing && published.Labels[managedByLabel] != managedByValue:
		return nil
	case caCert != nil:
		return publish(ctx, s.Client, key, caCert)
	case missing || isCopy(&published):
		return nil
	}
	// It is of the time when the certificate managed itself.
	return client.IgnoreNotFound(s.Client.Delete(ctx, &published, client.Preconditions{UID: &published.UID, ResourceVersion: &published.ResourceVersion}))
}

// read returns the authority's certificates; nil when there is no file. One that did not
// issue the certificate is an error: clients who trust it would have no server any more.
func (s *SuppliedAuthority) read() ([]byte, error) {
	file := filepath.Join(s.Dir, CACertKey)
	caCert, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(caCert) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.Dir, CertKey), filepath.Join(s.Dir, KeyKey))
	if err != nil {
		return nil, err
	}
	if err := issued(caCert, pair); err != nil {
		return nil, fmt.Errorf("%s is not the authority of the certificate beside it: %w; put the right one there, or leave it out", file, err)
	}
	return caCert, nil
}

// issued returns nil when who trusts the PEM certificates caCert trusts pair.
func issued(caCert []byte, pair tls.Certificate) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caCert) {
		return errors.New("it holds no PEM certificate")
	}
	for _, der := range pair.Certificate[1:] {
		if intermediate, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(intermediate)
		}
	}
	// One that is not valid any more has this authority nevertheless: clients tell. An
	// authority is asked for its signature before its own time.
	_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: pair.Leaf.NotAfter})
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return nil
	}
	return err
}
