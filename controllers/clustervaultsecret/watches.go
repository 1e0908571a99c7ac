package clustervaultsecret

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// kind is that of the owner of the VaultSecrets.
const kind = "ClusterVaultSecret"

// Field indexes of the cache.
const (
	ownerIndex = "coffer.clusterVaultSecret" // VaultSecret by the UID of its ClusterVaultSecret
	childIndex = "coffer.child"              // ClusterVaultSecret by the name of its VaultSecrets
)

// statusDelay is how long the outcomes of VaultSecrets are gathered before they are
// summed up: many that change together, as after a rotation, cost one write.
const statusDelay = time.Second

func addIndexes(mgr ctrl.Manager) error {
	indexer := mgr.GetFieldIndexer()
	ctx := context.Background() // it only bounds the making of informers
	err := indexer.IndexField(ctx, &vaultv1alpha1.VaultSecret{}, ownerIndex, func(obj client.Object) []string {
		if owner := ownerOf(obj); owner != nil {
			return []string{string(owner.UID)}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index VaultSecrets by ClusterVaultSecret: %w", err)
	}
	err = indexer.IndexField(ctx, &vaultv1alpha1.ClusterVaultSecret{}, childIndex, func(obj client.Object) []string {
		return []string{childName(obj.(*vaultv1alpha1.ClusterVaultSecret))}
	})
	if err != nil {
		return fmt.Errorf("index ClusterVaultSecrets by the name of their VaultSecrets: %w", err)
	}
	return nil
}

// ownerOf is the ClusterVaultSecret that controls obj; nil when none does.
func ownerOf(obj client.Object) *metav1.OwnerReference {
	owner := metav1.GetControllerOfNoCopy(obj)
	if owner == nil || owner.Kind != kind {
		return nil
	}
	if gv, err := schema.ParseGroupVersion(owner.APIVersion); err != nil || gv.Group != vaultv1alpha1.GroupVersion.Group {
		return nil
	}
	return owner
}

func selectorOf(object *vaultv1alpha1.ClusterVaultSecret) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(&object.Spec.NamespaceSelector)
	if err != nil {
		return nil, &invalidError{"spec.namespaceSelector: " + err.Error() + "; correct it; the VaultSecrets that are there stay as they are"}
	}
	if selector.Empty() { // the CRD refuses it
		return nil, &invalidError{"spec.namespaceSelector is empty and would match every namespace; name at least one label"}
	}
	return selector, nil
}

func labelsOf(obj client.Object) labels.Set { return obj.GetLabels() }

func namespaceMetadata() *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return object
}

// namespaceChanges lets through what a selector can notice, and the begin of a
// deletion.
func namespaceChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
			e.ObjectOld.GetUID() != e.ObjectNew.GetUID()
	}}
}

// watches maps events on other objects to the ClusterVaultSecrets they concern.
type watches struct {
	reader client.Reader
}

// ofNamespace finds the ClusterVaultSecrets that match the namespace. It is asked with
// the labels from before a change and with those after it.
func (w watches) ofNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	var requests []reconcile.Request
	for _, object := range w.list(ctx) {
		// One that is invalid does nothing anywhere.
		if selector, err := selectorOf(&object); err == nil && selector.Matches(labelsOf(namespace)) {
			requests = append(requests, requestFor(object.Name))
		}
	}
	return requests
}

// vaultSecrets brings edits and deletions at once, so that they are put right, and
// outcomes after statusDelay, together.
func (w watches) vaultSecrets() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if owner := ownerOf(e.Object); owner != nil {
				q.AddAfter(requestFor(owner.Name), statusDelay)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			before, now := e.ObjectOld.(*vaultv1alpha1.VaultSecret), e.ObjectNew.(*vaultv1alpha1.VaultSecret)
			switch owner := ownerOf(now); {
			case !apiequality.Semantic.DeepEqual(before.OwnerReferences, now.OwnerReferences):
				w.enqueue(ctx, q, before)
				w.enqueue(ctx, q, now)
			case owner == nil:
			case edited(before, now):
				q.Add(requestFor(owner.Name))
			case outcomeChanged(before, now):
				q.AddAfter(requestFor(owner.Name), statusDelay)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { w.enqueue(ctx, q, e.Object) },
	}
}

// enqueue brings the owner of the VaultSecret, and those that have waited for its name.
func (w watches) enqueue(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request], child client.Object) {
	if owner := ownerOf(child); owner != nil {
		q.Add(requestFor(owner.Name))
	}
	for _, object := range w.list(ctx, client.MatchingFields{childIndex: child.GetName()}) {
		q.Add(requestFor(object.Name))
	}
}

// edited reports whether anything changed that apply says something of.
func edited(before, now *vaultv1alpha1.VaultSecret) bool {
	return before.Generation != now.Generation || before.UID != now.UID ||
		!maps.Equal(before.Labels, now.Labels) || !maps.Equal(before.Annotations, now.Annotations) ||
		before.DeletionTimestamp.IsZero() != now.DeletionTimestamp.IsZero()
}

// outcomeChanged reports whether observe has something new to say.
func outcomeChanged(before, now *vaultv1alpha1.VaultSecret) bool {
	a, b := outcomeOf(before), outcomeOf(now)
	if a == nil || b == nil {
		return a != b
	}
	return a.Status != b.Status || a.Reason != b.Reason || b.Status != metav1.ConditionTrue && a.Message != b.Message
}

// list lists the ClusterVaultSecrets that the options select. The cache answers, so an
// error is one of the program.
func (w watches) list(ctx context.Context, options ...client.ListOption) []vaultv1alpha1.ClusterVaultSecret {
	var found vaultv1alpha1.ClusterVaultSecretList
	if err := w.reader.List(ctx, &found, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		log.FromContext(ctx).Error(err, "cannot list the ClusterVaultSecrets that an event concerns")
		return nil
	}
	return found.Items
}

func requestFor(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}
