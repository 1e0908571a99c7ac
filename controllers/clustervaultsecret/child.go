package clustervaultsecret

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/managedmeta"
)

// apply makes child what the template of object says. Labels and annotations of
// others stay.
func apply(object *vaultv1alpha1.ClusterVaultSecret, child *vaultv1alpha1.VaultSecret) error {
	template := &object.Spec.Template
	template.Spec.DeepCopyInto(&child.Spec)
	if err := managedmeta.Apply(&child.ObjectMeta, template.Metadata.Labels, template.Metadata.Annotations); err != nil {
		return err
	}
	child.Labels[vaultv1alpha1.ManagedByLabel] = vaultv1alpha1.ManagedByValue
	setOwner(object, child)
	return nil
}

// setOwner makes object the controller of child, for the garbage collector. It has
// no say in child otherwise, and its deletion does not wait for that of child.
func setOwner(object *vaultv1alpha1.ClusterVaultSecret, child *vaultv1alpha1.VaultSecret) {
	owner := metav1.OwnerReference{
		APIVersion:         vaultv1alpha1.GroupVersion.String(),
		Kind:               kind,
		Name:               object.Name,
		UID:                object.UID,
		Controller:         new(true),
		BlockOwnerDeletion: new(false),
	}
	if i := slices.IndexFunc(child.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == object.UID }); i >= 0 {
		child.OwnerReferences[i] = owner
		return
	}
	child.OwnerReferences = append(child.OwnerReferences, owner)
}

// observe keeps what the VaultSecret says of itself. Of one that is ready nothing more
// is said, so that a rotation writes no status here.
func (s *scope) observe(child *vaultv1alpha1.VaultSecret) {
	o := outcome{NamespaceOutcome: vaultv1alpha1.NamespaceOutcome{Namespace: child.Namespace}}
	ready := outcomeOf(child)
	switch {
	case !child.DeletionTimestamp.IsZero():
		o.Reason, o.Message = vaultv1alpha1.ReasonProgressing, "the VaultSecret is being deleted, and made anew when it is gone"
	case ready == nil:
		o.Reason, o.Message = vaultv1alpha1.ReasonProgressing, "the VaultSecret has no outcome yet"
		o.pendingSince = child.CreationTimestamp.Time
	case ready.Status == metav1.ConditionTrue:
		o.Ready, o.Reason = true, ready.Reason
	default:
		o.Reason, o.Message = ready.Reason, shortened(ready.Message)
	}
	s.outcomes = append(s.outcomes, o)
}

// outcomeOf is the condition Ready of child; nil when it is not about its present
// spec.
func outcomeOf(child *vaultv1alpha1.VaultSecret) *metav1.Condition {
	ready := meta.FindStatusCondition(child.Status.Conditions, vaultv1alpha1.ConditionReady)
	if ready == nil || ready.ObservedGeneration != child.Generation {
		return nil
	}
	return ready
}
