package clustervaultsecret

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// recheckInterval is how often a write is tried again that the API server refused for
// a reason that lasts, such as a quota.
const recheckInterval = time.Minute

// conflictDelay is how long a reconcile that lost a race waits for the cache to see
// what won.
const conflictDelay = 50 * time.Millisecond

// match finds the namespaces of the selector. One that is being deleted takes nothing
// new, and what it has goes with it.
func (r *Reconciler) match(ctx context.Context, s *scope) error {
	selector, err := selectorOf(s.object)
	if err != nil {
		return err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := r.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the namespaces: %w", err)
	}
	s.leaving = map[string]bool{}
	for i := range list.Items {
		namespace := &list.Items[i]
		switch {
		case !namespace.DeletionTimestamp.IsZero():
			s.leaving[namespace.Name] = true
		case selector.Matches(labelsOf(namespace)):
			s.matched = append(s.matched, namespace.Name)
		}
	}
	slices.Sort(s.matched)
	return nil
}

// gather finds the VaultSecrets that are there already, wherever they are and whatever
// they are called.
func (r *Reconciler) gather(ctx context.Context, s *scope) error {
	var list vaultv1alpha1.VaultSecretList
	if err := r.List(ctx, &list, client.MatchingFields{ownerIndex: string(s.object.UID)}, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list the VaultSecrets of the ClusterVaultSecret: %w", err)
	}
	s.own = make(map[types.NamespacedName]*vaultv1alpha1.VaultSecret, len(list.Items))
	for i := range list.Items {
		s.own[client.ObjectKeyFromObject(&list.Items[i])] = &list.Items[i]
	}
	return nil
}

// sync brings each namespace into step.
func (r *Reconciler) sync(ctx context.Context, s *scope) error {
	for _, namespace := range s.matched {
		if err := ctx.Err(); err != nil {
			return err
		}
		key := types.NamespacedName{Namespace: namespace, Name: childName(s.object)}
		var err error
		if child := s.own[key]; child != nil {
			err = r.update(ctx, s, child)
		} else {
			err = r.create(ctx, s, key)
		}
		if s.note(namespace, err) {
			log.FromContext(ctx).Info("the API server refuses the VaultSecret of a namespace", "vaultSecretNamespace", namespace, "error", err.Error())
		}
	}
	return nil
}

// create makes the VaultSecret, unless another has its name.
func (r *Reconciler) create(ctx context.Context, s *scope, key types.NamespacedName) error {
	err := r.Get(ctx, key, &vaultv1alpha1.VaultSecret{})
	if err == nil {
		return errNotOwned
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("get the VaultSecret %s: %w", key, err)
	}
	child := &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	if err := apply(s.object, child); err != nil {
		return err
	}
	if err := r.Create(ctx, child); apierrors.IsAlreadyExists(err) {
		return errRaced
	} else if err != nil {
		return fmt.Errorf("create the VaultSecret %s: %w", key, err)
	}
	s.observe(child)
	return nil
}

// update puts the VaultSecret right where it differs from the template.
func (r *Reconciler) update(ctx context.Context, s *scope, cached *vaultv1alpha1.VaultSecret) error {
	child := cached.DeepCopy()
	if child.DeletionTimestamp.IsZero() { // else somebody's finalizer holds it, and it is made anew when it is gone
		if err := apply(s.object, child); err != nil {
			return err
		}
		if !apiequality.Semantic.DeepEqual(cached, child) {
			// The resource version of the cached object makes this fail when anybody wrote
			// since.
			if err := r.Update(ctx, child); apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				return errRaced
			} else if err != nil {
				return fmt.Errorf("update the VaultSecret %s: %w", client.ObjectKeyFromObject(child), err)
			}
		}
	}
	s.observe(child)
	return nil
}

// prune takes away the VaultSecrets that the selector, or the name in the template,
// means no more. Those of namespaces that are being deleted go with them.
func (r *Reconciler) prune(ctx context.Context, s *scope) error {
	for key, child := range s.own {
		if _, matched := slices.BinarySearch(s.matched, key.Namespace); matched && key.Name == childName(s.object) {
			continue
		}
		if s.leaving[key.Namespace] || !child.DeletionTimestamp.IsZero() {
			continue
		}
		err := r.Delete(ctx, child.DeepCopy(), client.Preconditions{UID: &child.UID, ResourceVersion: &child.ResourceVersion},
			client.DisableReadYourWritesConsistency) // an event of it follows anyway
		switch {
		case apierrors.IsNotFound(err):
		case apierrors.IsConflict(err):
			s.lookAgain(conflictDelay)
		case err != nil:
			s.failures = append(s.failures, fmt.Errorf("delete the VaultSecret %s: %w", key, err))
		}
	}
	return nil
}
