package vaultsecret

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// adoptInterval is how often a Secret that is to be adopted is asked for its consent:
// nothing tells of a change of it.
const adoptInterval = 10 * time.Second

// ownerUID is the UID of the VaultSecret that a Secret belongs to, empty when it
// belongs to none: the controller's, or, without any controller, the one that the
// annotation of a retained Secret names. The annotation counts only on a Secret that
// Coffer wrote; to give another one to a VaultSecret takes the consent of both.
func ownerUID(s *corev1.Secret) string {
	if owner := metav1.GetControllerOf(s); owner != nil {
		if isVaultSecret(owner) {
			return string(owner.UID)
		}
		return ""
	}
	for _, written := range []string{vaultv1alpha1.ChecksumAnnotation, vaultv1alpha1.InputsAnnotation, vaultv1alpha1.VaultAnnotation} {
		if s.Annotations[written] != "" {
			return s.Annotations[vaultv1alpha1.OwnerUIDAnnotation]
		}
	}
	return ""
}

func isVaultSecret(owner *metav1.OwnerReference) bool {
	return owner.Kind == "VaultSecret" && owner.APIVersion == vaultv1alpha1.GroupVersion.String()
}

func owns(object *vaultv1alpha1.VaultSecret, s *corev1.Secret) bool {
	return ownerUID(s) == string(object.UID)
}

// claim reports, as a failure, why the VaultSecret may not write its target. existing
// is nil when there is no Secret of the name yet.
//
// Of several VaultSecrets that name one Secret, the one that it belongs to keeps it,
// and the oldest gets one that belongs to nobody.
func (r *Reconciler) claim(ctx context.Context, s *scope, existing *corev1.Secret) error {
	if existing != nil && owns(s.object, existing) {
		return nil
	}
	rivals, err := r.rivals(ctx, s.object)
	if err != nil {
		return err
	}
	first := s.object
	for i := range rivals {
		rival := &rivals[i]
		if existing != nil && owns(rival, existing) {
			return taken(s.object, rival.Name)
		}
		if older(rival, first) {
			first = rival
		}
	}
	if first != s.object {
		return taken(s.object, first.Name)
	}
	if existing == nil {
		return nil
	}
	leaving, err := r.leaving(ctx, existing)
	switch {
	case err != nil:
		return err
	case leaving != "":
		return &failure{
			reason: vaultv1alpha1.ReasonTargetTaken,
			message: fmt.Sprintf("the Secret %s still belongs to the VaultSecret %s, which is deleted or names another Secret by now; this one takes over as soon as that Secret is gone",
				existing.Name, leaving),
			recheck: recheckInterval,
		}
	case agreed(s.object, existing):
		s.adopted = true
		return nil
	}
	return notOwned(s.object, existing)
}

// rivals are the other VaultSecrets that name the same Secret and are there to stay.
func (r *Reconciler) rivals(ctx context.Context, object *vaultv1alpha1.VaultSecret) ([]vaultv1alpha1.VaultSecret, error) {
	named, err := targeting(ctx, r, object.Namespace, targetName(object))
	if err != nil {
		return nil, err
	}
	var rivals []vaultv1alpha1.VaultSecret
	for i := range named {
		if other := &named[i]; other.UID != object.UID && other.DeletionTimestamp.IsZero() {
			rivals = append(rivals, *other)
		}
	}
	return rivals, nil
}

// older orders VaultSecrets by their creation, to the second, and then by name.
func older(a, b *vaultv1alpha1.VaultSecret) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) < 0
}

func taken(object *vaultv1alpha1.VaultSecret, by string) *failure {
	return &failure{
		reason: vaultv1alpha1.ReasonTargetTaken,
		message: fmt.Sprintf("the Secret %s is the target of the VaultSecret %s, which has it first: name another in spec.target.name; this one takes over when %s is deleted or names another Secret",
			targetName(object), by, by),
	}
}

// leaving is the name of the VaultSecret that existing still belongs to and that does
// not want it any more, empty when there is none: its deletion is under way. What a
// VaultSecret that is gone retained belongs to nobody.
func (r *Reconciler) leaving(ctx context.Context, existing *corev1.Secret) (string, error) {
	if owner := metav1.GetControllerOf(existing); owner != nil {
		if isVaultSecret(owner) {
			return owner.Name, nil
		}
		return "", nil
	}
	uid := ownerUID(existing)
	if uid == "" {
		return "", nil
	}
	// No index: only a Secret that is retained, and in the way of another, asks for it.
	var all vaultv1alpha1.VaultSecretList
	err := r.List(ctx, &all, client.InNamespace(existing.Namespace), client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)
	if err != nil {
		return "", fmt.Errorf("list the VaultSecrets of the namespace: %w", err)
	}
	for i := range all.Items {
		if string(all.Items[i].UID) == uid {
			return all.Items[i].Name, nil
		}
	}
	return "", nil
}

// agreed reports whether both sides want the Secret to be taken over.
func agreed(object *vaultv1alpha1.VaultSecret, existing *corev1.Secret) bool {
	return object.Spec.Target.Adopt && metav1.GetControllerOf(existing) == nil && consents(object, existing)
}

func consents(object *vaultv1alpha1.VaultSecret, existing *corev1.Secret) bool {
	return existing.Annotations[vaultv1alpha1.AdoptByAnnotation] == object.Name
}

// notOwned says what a Secret that belongs to somebody else needs to become this
// VaultSecret's.
func notOwned(object *vaultv1alpha1.VaultSecret, s *corev1.Secret) *failure {
	f := &failure{reason: vaultv1alpha1.ReasonSecretNotOwned, recheck: recheckInterval}
	if owner := metav1.GetControllerOf(s); owner != nil {
		f.message = fmt.Sprintf("the Secret %s exists and is controlled by %s %s; it is left untouched: name another in spec.target.name, or have that delete it", s.Name, owner.Kind, owner.Name)
		return f
	}
	annotate := fmt.Sprintf("kubectl annotate secret -n %s %s %s=%s", s.Namespace, s.Name, vaultv1alpha1.AdoptByAnnotation, object.Name)
	switch {
	case !object.Spec.Target.Adopt && !consents(object, s):
		f.message = fmt.Sprintf("the Secret %s exists and is not Coffer's; it is left untouched: name another in spec.target.name, delete it, or let it be taken over: set spec.target.adopt to true, and: %s", s.Name, annotate)
	case !object.Spec.Target.Adopt:
		f.message = fmt.Sprintf("the Secret %s agrees to be taken over, and this VaultSecret does not ask for it: set spec.target.adopt to true", s.Name)
	default:
		f.message = fmt.Sprintf("the Secret %s exists and does not agree to be taken over; it is left untouched until: %s", s.Name, annotate)
		f.recheck = adoptInterval
	}
	return f
}

// targetLeft wakes the VaultSecrets that wait for the Secret of one that is deleted or
// names another by now.
func (w watches) targetLeft() handler.EventHandler {
	enqueue := func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request], left client.Object) {
		target := targetName(left.(*vaultv1alpha1.VaultSecret))
		for _, request := range w.targeting(ctx, left.GetNamespace(), target) {
			queue.Add(request)
		}
	}
	return handler.Funcs{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if targetName(e.ObjectOld.(*vaultv1alpha1.VaultSecret)) != targetName(e.ObjectNew.(*vaultv1alpha1.VaultSecret)) ||
				e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() {
				enqueue(ctx, queue, e.ObjectOld)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, queue, e.Object)
		},
	}
}
