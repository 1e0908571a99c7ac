package vaultrotation

import (
	"context"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// watches brings the events that concern the set.
type watches struct {
	reader client.Reader
}

func (w watches) add(b *builder.Builder) {
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{everything}
	})
	// Without this a cluster that has lost its last rotation while the operator was away would keep it in force.
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(everything)
		return nil
	})
	b.Watches(&vaultv1alpha1.VaultRotation{}, all, builder.WithPredicates(predicate.Or(
		predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{},
	))).
		Watches(metadataOf("ServiceAccount"), handler.EnqueueRequestsFromMapFunc(w.ofServiceAccount), builder.WithPredicates(accountChanges())).
		Watches(metadataOf("Namespace"), handler.EnqueueRequestsFromMapFunc(w.ofNamespace), builder.WithPredicates(environmentChanges())).
		WatchesRawSource(atStart)
}

// accountChanges lets creations and deletions through, and an account that was replaced by another of the name while nobody watched.
func accountChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

// environmentChanges lets a changed environment through. Accounts come after their namespace, and go before it.
func environmentChanges() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetLabels()[vaultv1alpha1.EnvironmentLabel] != e.ObjectNew.GetLabels()[vaultv1alpha1.EnvironmentLabel]
		},
	}
}

func (w watches) ofServiceAccount(ctx context.Context, account client.Object) []reconcile.Request {
	return w.when(ctx, func(ref vaultv1alpha1.ServiceAccountReference) bool {
		return ref.Namespace == account.GetNamespace() && ref.Name == account.GetName()
	})
}

func (w watches) ofNamespace(ctx context.Context, namespace client.Object) []reconcile.Request {
	return w.when(ctx, func(ref vaultv1alpha1.ServiceAccountReference) bool { return ref.Namespace == namespace.GetName() })
}

// when is the request when a VaultRotation names such an account. The cache answers, so an error is one of the program.
func (w watches) when(ctx context.Context, concerns func(vaultv1alpha1.ServiceAccountReference) bool) []reconcile.Request {
	var list vaultv1alpha1.VaultRotationList
	if err := w.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "cannot list the VaultRotations that an event concerns")
		return nil
	}
	for i := range list.Items {
		if concerns(list.Items[i].Spec.ServiceAccountRef) {
			return []reconcile.Request{everything}
		}
	}
	return nil
}
