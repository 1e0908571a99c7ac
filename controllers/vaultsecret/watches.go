package vaultsecret

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
)

// wokenBy are the entries of pathIndex that a change of path concerns: the path, and
// each prefix that it lies below, such as a/ and a/b/ for a/b/c.
func wokenBy(path string) []string {
	keys := []string{path}
	for i := range len(path) {
		if path[i] == '/' {
			keys = append(keys, path[:i+1])
		}
	}
	return keys
}

// specChanges lets through what a person changes, and not the status writes of the
// reconciler itself. An annotation is a way to ask for a reconcile.
func specChanges() builder.Predicates {
	return builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))
}

// watches maps events on other objects to the VaultSecrets they concern.
type watches struct {
	reader  client.Reader
	metrics *instruments
	// own are the reconciler's writes of Secrets.
	own *ownWrites
	// argoRollouts says that there is the kind of Argo Rollouts.
	argoRollouts bool
}

func (w watches) add(b *builder.Builder) {
	b.Watches(&vaultv1alpha1.VaultSecret{}, w.targetLeft()).
		Watches(&vaultv1alpha1.VaultSecret{}, handler.EnqueueRequestsFromMapFunc(w.ofRollback), builder.WithPredicates(rollbackBegins())).
		Watches(&corev1.Secret{}, w.secretEvents()).
		Watches(serviceAccountMetadata(), handler.EnqueueRequestsFromMapFunc(w.ofServiceAccount), builder.WithPredicates(existenceChanges())).
		Watches(namespaceMetadata(), handler.EnqueueRequestsFromMapFunc(w.ofNamespace), builder.WithPredicates(environmentChanges()))
	for _, obj := range rollout.Objects(w.argoRollouts) {
		b.Watches(obj, handler.EnqueueRequestsFromMapFunc(w.ofWorkload), builder.WithPredicates(rolloutChanges()))
	}
}

// existenceChanges lets creations and deletions through, and an object that was
// replaced by another of the same name while nobody watched.
func existenceChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero()
	}}
}

func environmentChanges() predicate.Predicate {
	return predicate.Funcs{
		// VaultSecrets come after their namespace, and go before it.
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetLabels()[vaultv1alpha1.EnvironmentLabel] != e.ObjectNew.GetLabels()[vaultv1alpha1.EnvironmentLabel]
		},
	}
}

// rolloutChanges lets through a changed template, changed labels and a changed state
// of the rollout, and not every pod that comes or goes.
func rolloutChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok := rollout.FromObject(e.ObjectOld)
		if !ok {
			return false
		}
		now, ok := rollout.FromObject(e.ObjectNew)
		if !ok {
			return false
		}
		stateBefore, messageBefore := before.State()
		stateNow, messageNow := now.State()
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			!maps.Equal(e.ObjectOld.GetLabels(), e.ObjectNew.GetLabels()) || stateBefore != stateNow || messageBefore != messageNow
	}}
}

// secretEvents asks those for a reconcile whom a Secret concerns, as it was and as it is,
// but for who wrote it.
func (w watches) secretEvents() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	add := func(q queue, requests []reconcile.Request) {
		for _, request := range requests { // the queue takes each once
			q.Add(request)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			add(q, w.own.without(e.Object, w.ofSecret(ctx, e.Object)))
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			concerned := append(w.ofSecret(ctx, e.ObjectOld), w.ofSecret(ctx, e.ObjectNew)...)
			add(q, w.own.without(e.ObjectNew, concerned))
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			w.own.gone(e.Object)
			add(q, w.ofSecret(ctx, e.Object))
		},
	}
}

// ofSecret finds the VaultSecret whose target has the Secret's name, and the one
// that owns it: after a change of the target's name they differ.
func (w watches) ofSecret(ctx context.Context, obj client.Object) []reconcile.Request {
	requests := w.targeting(ctx, obj.GetNamespace(), obj.GetName())
	if target := unsuffixed(obj.GetName()); target != "" {
		requests = append(requests, w.targeting(ctx, obj.GetNamespace(), target)...)
	}
	for _, owner := range obj.GetOwnerReferences() {
		if owner.Kind != "VaultSecret" {
			continue
		}
		request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: owner.Name}}
		if len(requests) != 1 || requests[0] != request {
			requests = append(requests, request)
		}
	}
	return requests
}

func (w watches) ofServiceAccount(ctx context.Context, obj client.Object) []reconcile.Request {
	return w.list(ctx, client.InNamespace(obj.GetNamespace()), client.MatchingFields{accountIndex: obj.GetName()})
}

func (w watches) ofNamespace(ctx context.Context, obj client.Object) []reconcile.Request {
	return w.list(ctx, client.InNamespace(obj.GetName()))
}

func (w watches) ofWorkload(ctx context.Context, obj client.Object) []reconcile.Request {
	workload, ok := rollout.FromObject(obj)
	if !ok {
		return nil
	}
	found, err := followed(ctx, w.reader, workload)
	if err != nil {
		log.FromContext(ctx).Error(err, "cannot list the VaultSecrets that an event concerns")
		return nil
	}
	return requestsFor(found)
}

// list names the VaultSecrets that the options select. The cache answers, so an
// error is one of the program.
func (w watches) list(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	var found vaultv1alpha1.VaultSecretList
	if err := w.reader.List(ctx, &found, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		log.FromContext(ctx).Error(err, "cannot list the VaultSecrets that an event concerns")
		return nil
	}
	return requestsFor(found.Items)
}

// targeting names the VaultSecrets whose target has the name.
func (w watches) targeting(ctx context.Context, namespace, name string) []reconcile.Request {
	found, err := targeting(ctx, w.reader, namespace, name)
	if err != nil {
		log.FromContext(ctx).Error(err, "cannot list the VaultSecrets that an event concerns")
		return nil
	}
	return requestsFor(found)
}

func requestsFor(objects []vaultv1alpha1.VaultSecret) []reconcile.Request {
	requests := make([]reconcile.Request, len(objects))
	for i := range objects {
		requests[i] = reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&objects[i])}
	}
	return requests
}

// rollbackBegins lets through that it was decided to take a Secret back.
func rollbackBegins() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok := e.ObjectOld.(*vaultv1alpha1.VaultSecret)
			if !ok {
				return false
			}
			now, ok := e.ObjectNew.(*vaultv1alpha1.VaultSecret)
			return ok && before.Status.Rejected == nil && now.Status.Rejected != nil
		},
	}
}

// ofRollback finds the VaultSecrets whose content changed in the rollout that failed, so
// that they look at it too before it is gone, and all go back in one.
func (w watches) ofRollback(ctx context.Context, obj client.Object) []reconcile.Request {
	object, ok := obj.(*vaultv1alpha1.VaultSecret)
	if !ok {
		return nil
	}
	var all vaultv1alpha1.VaultSecretList
	if err := w.reader.List(ctx, &all, client.InNamespace(object.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "cannot list the VaultSecrets that an event concerns")
		return nil
	}
	var involved []vaultv1alpha1.VaultSecret
	for i := range all.Items {
		if all.Items[i].UID != object.UID && rollTogether(&all.Items[i], object) {
			involved = append(involved, all.Items[i])
		}
	}
	return requestsFor(involved)
}

// rollTogether reports whether a rollout of one workload is under way for both.
func rollTogether(a, b *vaultv1alpha1.VaultSecret) bool {
	for _, of := range a.Status.Workloads {
		if of.RollingSince == nil {
			continue
		}
		for _, other := range b.Status.Workloads {
			if other.RollingSince != nil && other.Kind == of.Kind && other.Name == of.Name {
				return true
			}
		}
	}
	return false
}
