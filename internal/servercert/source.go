package servercert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Keys of the Secret and, for CACertKey, of the ConfigMap. The first two are the
// API's own for Secrets of type kubernetes.io/tls.
const (
	CertKey   = corev1.TLSCertKey
	KeyKey    = corev1.TLSPrivateKeyKey
	CACertKey = "ca.crt"
	caKeyKey  = "ca.key"
)

// recheck is how often a replica looks whether the certificate is due or another
// replica has renewed it: how long two replicas can serve certificates of two
// authorities after an administrator has deleted the Secret. It costs two reads.
const recheck = time.Minute

// Options say where the certificate is kept and what it is for.
type Options struct {
	// Namespace, SecretName and ConfigMapName say where it is kept and where the
	// authority's certificate is published.
	Namespace, SecretName, ConfigMapName string
	Names                                Names
	// Client reads and writes without a cache.
	Client client.Client
	Now    func() time.Time
	Logger *slog.Logger
}

// Source holds the certificate in force.
type Source struct {
	opts    Options
	current atomic.Pointer[tls.Certificate]
}

// New reads or makes the certificate; on return it can be served.
func New(ctx context.Context, opts Options) (*Source, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	s := &Source{opts: opts}
	if err := s.refresh(ctx); err != nil {
		return nil, fmt.Errorf("prepare the API's certificate in Secret %s/%s: %w", opts.Namespace, opts.SecretName, err)
	}
	return s, nil
}

// GetCertificate is for tls.Config.GetCertificate.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.current.Load(), nil
}

// NeedLeaderElection is false: every replica serves the API.
func (*Source) NeedLeaderElection() bool { return false }

// Start renews the certificate in time until ctx ends.
func (s *Source) Start(ctx context.Context) error {
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := s.refresh(ctx); err != nil {
				s.opts.Logger.WarnContext(ctx, "the API's certificate could not be checked; it is tried again", "error", err, "in", recheck)
			}
		}
	}
}

func (s *Source) refresh(ctx context.Context) error {
	var b bundle
	err := retry.OnError(retry.DefaultBackoff, lostRace, func() (err error) {
		b, err = s.ensureSecret(ctx)
		return err
	})
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(b.cert, b.key)
	if err != nil {
		return err
	}
	s.current.Store(&pair)
	return retry.OnError(retry.DefaultBackoff, lostRace, func() error { return s.publish(ctx, b.caCert) })
}

func lostRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}

func (s *Source) ensureSecret(ctx context.Context) (bundle, error) {
	var stored corev1.Secret
	err := s.opts.Client.Get(ctx, client.ObjectKey{Namespace: s.opts.Namespace, Name: s.opts.SecretName}, &stored)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return bundle{}, err
	}
	b, changed, err := bundle{
		caCert: stored.Data[CACertKey], caKey: stored.Data[caKeyKey],
		cert: stored.Data[CertKey], key: stored.Data[KeyKey],
	}.renew(s.opts.Names, s.opts.Now())
	if err != nil || !changed {
		return b, err
	}
	stored.Data = map[string][]byte{CACertKey: b.caCert, caKeyKey: b.caKey, CertKey: b.cert, KeyKey: b.key}
	if missing {
		stored.ObjectMeta = metav1.ObjectMeta{Namespace: s.opts.Namespace, Name: s.opts.SecretName}
		stored.Type = corev1.SecretTypeTLS
		return b, s.opts.Client.Create(ctx, &stored)
	}
	return b, s.opts.Client.Update(ctx, &stored)
}

func (s *Source) publish(ctx context.Context, caCert []byte) error {
	return publish(ctx, s.opts.Client, client.ObjectKey{Namespace: s.opts.Namespace, Name: s.opts.ConfigMapName}, caCert)
}

func (o Options) validate() error {
	if o.Namespace == "" || o.SecretName == "" || o.ConfigMapName == "" {
		return errors.New("namespace, Secret and ConfigMap of the API's certificate must be named; set POD_NAMESPACE")
	}
	return nil
}
