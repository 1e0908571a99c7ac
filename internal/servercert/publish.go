package servercert

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The labels of what Coffer wrote, and of copies of another installation's authority, those of api/v1alpha1.
const (
	managedByLabel   = "app.kubernetes.io/managed-by"
	managedByValue   = "coffer"
	authorityOfLabel = "vault.coffer.dev/authority-of"
)

// isCopy reports whether another installation put its own authority there.
func isCopy(published *corev1.ConfigMap) bool {
	_, found := published.Labels[authorityOfLabel]
	return found
}

// publish makes the ConfigMap hold the authority's certificate, and nothing else. The copy
// of another installation becomes an original, which that one leaves alone.
func publish(ctx context.Context, c client.Client, key client.ObjectKey, caCert []byte) error {
	wanted := map[string]string{CACertKey: string(caCert)}
	var published corev1.ConfigMap
	err := c.Get(ctx, key, &published)
	switch {
	case apierrors.IsNotFound(err):
		published.ObjectMeta = metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{managedByLabel: managedByValue}}
		published.Data = wanted
		return c.Create(ctx, &published)
	case err != nil:
		return err
	case maps.Equal(published.Data, wanted) && published.Labels[managedByLabel] == managedByValue && !isCopy(&published):
		return nil
	}
	if published.Labels == nil {
		published.Labels = map[string]string{}
	}
	published.Labels[managedByLabel] = managedByValue
	delete(published.Labels, authorityOfLabel)
	published.Data = wanted
	return c.Update(ctx, &published)
}
