package vaultrotation

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// identify finds the account in whose name it is rotated, with its UID, and the environment of its namespace. It fails with a problem when there
// is no such account.
func (r *Reconciler) identify(ctx context.Context, ref vaultv1alpha1.ServiceAccountReference) (rotation.Identity, error) {
	missing := &problem{vaultv1alpha1.ReasonServiceAccountNotFound, fmt.Sprintf(
		"the service account %s/%s does not exist: create it, or name another in spec.serviceAccountRef", ref.Namespace, ref.Name)}
	if len(apivalidation.ValidateServiceAccountName(ref.Name, false)) > 0 || len(apivalidation.ValidateNamespaceName(ref.Namespace, false)) > 0 {
		return rotation.Identity{}, missing // and asking for it is an error
	}
	account, err := r.metadata(ctx, "ServiceAccount", client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name})
	if err != nil {
		return rotation.Identity{}, err
	}
	namespace, err := r.metadata(ctx, "Namespace", client.ObjectKey{Name: ref.Namespace})
	if err != nil {
		return rotation.Identity{}, err
	}
	if account == nil || namespace == nil {
		return rotation.Identity{}, missing
	}
	as := rotation.Identity{
		Namespace: ref.Namespace, ServiceAccount: ref.Name, UID: string(account.UID), Environment: namespace.Labels[vaultv1alpha1.EnvironmentLabel],
	}
	if as.Environment == "" {
		as.Environment = r.DefaultEnvironment
	}
	return as, nil
}

// metadata reads from the cache, and before it says that there is no such object, from the API server. It is nil for one that is being deleted.
func (r *Reconciler) metadata(ctx context.Context, kind string, key client.ObjectKey) (*metav1.PartialObjectMetadata, error) {
	var err error
	for _, reader := range []client.Reader{r.Client, r.APIReader} {
		object := metadataOf(kind)
		if err = reader.Get(ctx, key, object); err == nil {
			if !object.DeletionTimestamp.IsZero() {
				return nil, nil
			}
			return object, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("get the %s %s: %w", kind, key, err)
		}
	}
	return nil, nil
}

// metadataOf is an object of a core kind, of which the cache keeps the metadata.
func metadataOf(kind string) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return object
}
