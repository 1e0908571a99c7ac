package capublisher

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// The ConfigMap of the authority, and the key in it, which has PEM certificates.
const (
	ConfigMapName = "coffer-ca"
	Key           = "ca.crt"
)

// reasonNotOwned is that of the Event about a ConfigMap of somebody else.
const reasonNotOwned = "ConfigMapNotOwned"

// owns reports whether the object is a copy of this installation.
func (r *Reconciler) owns(object client.Object) bool {
	return object.GetLabels()[vaultv1alpha1.AuthorityOfLabel] == r.opts.Namespace
}

// publish makes the copy of a namespace what the original is.
func (r *Reconciler) publish(ctx context.Context, namespace string) error {
	wanted, err := r.original(ctx)
	if err != nil || wanted == nil {
		return err
	}
	// Without a cache: a copy that somebody has edited is not to pass as one that is right.
	var existing corev1.ConfigMap
	err = r.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ConfigMapName}, &existing)
	switch {
	case apierrors.IsNotFound(err):
		return r.create(ctx, namespace, wanted)
	case err != nil:
		return fmt.Errorf("read the published authority: %w", err)
	case !r.owns(&existing):
		r.recorder.Eventf(&existing, nil, corev1.EventTypeWarning, reasonNotOwned, "Publish",
			"this ConfigMap is not a copy of the authority of the Coffer in %[4]s, and is left untouched: pods of the namespace trust what it holds. If nobody else keeps it, hand it over: kubectl label --overwrite configmap -n %[1]s %[2]s %[3]s=%[4]s",
			namespace, ConfigMapName, vaultv1alpha1.AuthorityOfLabel, r.opts.Namespace)
		return nil
	case maps.Equal(existing.Data, wanted) && len(existing.BinaryData) == 0:
		return nil
	case existing.Immutable != nil && *existing.Immutable:
		return r.remove(ctx, &existing) // and make it anew when its deletion is seen
	}
	existing.Data, existing.BinaryData = wanted, nil
	if err := r.Update(ctx, &existing); err != nil {
		return fmt.Errorf("bring the published authority up to date: %w", err)
	}
	return nil
}

// original is what a copy is to hold; nil when that is not known yet.
func (r *Reconciler) original(ctx context.Context) (map[string]string, error) {
	var original corev1.ConfigMap
	err := r.live.Get(ctx, client.ObjectKey{Namespace: r.opts.Namespace, Name: ConfigMapName}, &original)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read the authority of the API: %w", err)
	}
	_, copied := original.Labels[vaultv1alpha1.AuthorityOfLabel] // by another installation, before this one was here
	switch authority := original.Data[Key]; {
	case authority != "" && !copied:
		return map[string]string{Key: authority}, nil
	case r.opts.Supplied:
		return map[string]string{}, nil
	default: // it is about to be written, which is an event
		return nil, nil
	}
}

func (r *Reconciler) create(ctx context.Context, namespace string, data map[string]string) error {
	err := r.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: ConfigMapName,
			Labels: map[string]string{
				vaultv1alpha1.ManagedByLabel:   vaultv1alpha1.ManagedByValue,
				vaultv1alpha1.AuthorityOfLabel: r.opts.Namespace,
			},
		},
		Data: data,
	})
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // which is an event, or there will be nobody to read it
	case err != nil:
		return fmt.Errorf("publish the authority: %w", err)
	}
	return nil
}

// remove deletes what was found, as long as nobody changed it since.
func (r *Reconciler) remove(ctx context.Context, found client.Object) error {
	uid, version := found.GetUID(), found.GetResourceVersion()
	err := r.Delete(ctx, found, client.Preconditions{UID: &uid, ResourceVersion: &version})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("withdraw the published authority: %w", err)
	}
	return nil
}
