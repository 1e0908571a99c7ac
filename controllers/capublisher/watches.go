package capublisher

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// CacheByObject says what the manager's cache keeps of ConfigMaps: the metadata of those
// of this name, in namespaces, or in all when nil.
func CacheByObject(namespaces []string) map[client.Object]cache.ByObject {
	options := cache.ByObject{
		Field:     fields.OneTermEqualSelector(metav1.ObjectNameField, ConfigMapName),
		Transform: stripConfigMap,
	}
	for _, namespace := range namespaces {
		if options.Namespaces == nil {
			options.Namespaces = map[string]cache.Config{}
		}
		options.Namespaces[namespace] = cache.Config{}
	}
	return map[client.Object]cache.ByObject{Metadata(): options}
}

// Metadata is the kind that this controller has in the cache: ConfigMaps without what they hold.
func Metadata() *metav1.PartialObjectMetadata { return metadataOf("ConfigMap") }

func namespaceMetadata() *metav1.PartialObjectMetadata { return metadataOf("Namespace") }

func metadataOf(kind string) *metav1.PartialObjectMetadata {
	meta := &metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return meta
}

func stripConfigMap(obj any) (any, error) {
	if meta, ok := obj.(*metav1.PartialObjectMetadata); ok {
		meta.ManagedFields, meta.Annotations = nil, nil
	}
	return obj, nil
}

// asks reports whether a namespace wants the authority.
func asks(namespace client.Object) bool {
	return namespace.GetLabels()[vaultv1alpha1.InjectionLabel] == vaultv1alpha1.InjectionEnabled
}

// askingChanges lets namespaces through that ask, and those that have begun or ceased to.
// Of one that ceased while no operator ran, its ConfigMap tells.
func askingChanges() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return asks(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return asks(e.ObjectOld) != asks(e.ObjectNew) || e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
		},
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}

// watches maps events to the namespaces that they concern.
type watches struct {
	reader client.Reader
	own    string
}

func (watches) ofNamespace(_ context.Context, namespace client.Object) []reconcile.Request {
	return []reconcile.Request{requestFor(namespace.GetName())}
}

// ofConfigMap finds the namespace of a copy, and all that ask when it is the original.
func (w watches) ofConfigMap(ctx context.Context, configMap client.Object) []reconcile.Request {
	if configMap.GetNamespace() != w.own {
		return []reconcile.Request{requestFor(configMap.GetNamespace())}
	}
	found := &metav1.PartialObjectMetadataList{}
	found.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	// The cache answers, so an error is one of the program.
	err := w.reader.List(ctx, found, client.MatchingLabels{vaultv1alpha1.InjectionLabel: vaultv1alpha1.InjectionEnabled}, client.UnsafeDisableDeepCopy)
	if err != nil {
		log.FromContext(ctx).Error(err, "cannot list the namespaces that ask for the authority of the API")
		return nil
	}
	requests := make([]reconcile.Request, len(found.Items))
	for i := range found.Items {
		requests[i] = requestFor(found.Items[i].Name)
	}
	return requests
}

func requestFor(namespace string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: namespace}}
}
