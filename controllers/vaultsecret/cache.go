package vaultsecret

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
)

// observedKey holds, in cached Secrets only, the checksum of the data that the
// Secret had when it entered the cache. No Secret of the API server can have this
// key: "/" is not allowed in one.
const observedKey = "cache/observed-checksum"

// observedChecksum is the checksum of the data that a cached Secret has on the API
// server.
func observedChecksum(cached *corev1.Secret) string { return string(cached.Data[observedKey]) }

// CacheByObject says what the manager's cache keeps: of Secrets only those that
// Coffer wrote, with a keyed checksum in the place of their data; of service
// accounts and namespaces the metadata; of workloads the Secrets they use, their
// stamps and their state. Reconcilers of this package need it, and CacheTransform as
// the default.
func CacheByObject(f Fingerprinter) map[client.Object]cache.ByObject {
	byObject := map[client.Object]cache.ByObject{
		&corev1.Secret{}: {
			Label:     labels.SelectorFromSet(labels.Set{vaultv1alpha1.ManagedByLabel: vaultv1alpha1.ManagedByValue}),
			Transform: secretTransform(f),
		},
		&vaultv1alpha1.VaultSecret{}: {Transform: cache.TransformStripManagedFields()},
		serviceAccountMetadata():     {Transform: stripServiceAccount},
		namespaceMetadata():          {Transform: stripNamespace},
	}
	for _, obj := range rollout.Objects(false) {
		byObject[obj] = cache.ByObject{Transform: rollout.Strip}
	}
	return byObject
}

// CacheTransform is for the kinds that CacheByObject cannot name, since they need not
// be installed: Argo Rollouts. Others it leaves as they are.
func CacheTransform(obj any) (any, error) { return rollout.Strip(obj) }

func secretTransform(f Fingerprinter) toolscache.TransformFunc {
	return func(obj any) (any, error) {
		s, ok := obj.(*corev1.Secret)
		if !ok {
			return obj, nil
		}
		if _, done := s.Data[observedKey]; done {
			return s, nil // a transform may see an object twice
		}
		checksum := contentChecksum(f, s.Namespace, s.Name, s.Data)
		for _, value := range s.Data {
			clear(value)
		}
		s.Data = map[string][]byte{observedKey: []byte(checksum)}
		s.ManagedFields = nil
		return s, nil
	}
}

func serviceAccountMetadata() *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	return meta
}

func namespaceMetadata() *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return meta
}

func stripServiceAccount(obj any) (any, error) {
	if meta, ok := obj.(*metav1.PartialObjectMetadata); ok {
		meta.ManagedFields, meta.Annotations, meta.Labels = nil, nil, nil
	}
	return obj, nil
}

func stripNamespace(obj any) (any, error) {
	if meta, ok := obj.(*metav1.PartialObjectMetadata); ok {
		meta.ManagedFields, meta.Annotations = nil, nil
	}
	return obj, nil
}
