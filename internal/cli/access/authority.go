package access

import (
	"context"
	"crypto/x509"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The ConfigMap in which the server publishes the authority of its certificate, and the
// key in it.
const (
	authorityConfigMap = "coffer-ca"
	authorityKey       = "ca.crt"
)

// authority returns the certificates to trust; nil, the system's, when the installation
// publishes none because its certificate is a supplied one.
func (i *Installation) authority(ctx context.Context) (*x509.CertPool, error) {
	namespace := i.target.Namespace
	what := fmt.Sprintf("read the ConfigMap %s/%s, which has the authority of Coffer's certificate", namespace, authorityConfigMap)
	published, err := i.kube.CoreV1().ConfigMaps(namespace).Get(ctx, authorityConfigMap, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case apierrors.IsForbidden(err):
		return nil, &Error{
			Message: fmt.Sprintf("you may not %s", what),
			Next: i.grant(ctx, right{namespace: namespace, role: "coffer-authority", verb: "get", resource: "configmaps", name: authorityConfigMap}) +
				"\nOr name a file that has it: --ca-cert FILE",
		}
	case err != nil:
		return nil, &Error{Kind: Unreachable, Message: what, cause: err}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(published.Data[authorityKey])) {
		return nil, &Error{Message: fmt.Sprintf("%s: its key %s holds no PEM certificate", what, authorityKey), Next: "Name a file that has it: --ca-cert FILE"}
	}
	return pool, nil
}
