package clustervaultsecret

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// apply makes child what the template of object says. Labels and annotations of
// others stay.
func apply(object *vaultv1alpha1.ClusterVaultSecret, child *vaultv1alpha1.VaultSecret) error {
	template := &object.Spec.Template
	template.Spec.DeepCopyInto(&child.Spec)
	if err := applyMetadata(&template.Metadata, child); err != nil {
		return err
	}
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

// managedMetadata lists the labels and annotations that came from the template, to be
// able to take away those that it names no more.
type managedMetadata struct {
	Labels      []string `json:"labels,omitempty"`
	Annotations []string `json:"annotations,omitempty"`
}

func applyMetadata(template *vaultv1alpha1.VaultSecretTemplateMetadata, child *vaultv1alpha1.VaultSecret) error {
	var earlier managedMetadata
	// An unreadable note is somebody's edit: there is nothing to take away then.
	_ = json.Unmarshal([]byte(child.Annotations[vaultv1alpha1.ManagedMetadataAnnotation]), &earlier)
	note, err := json.Marshal(managedMetadata{
		Labels:      slices.Sorted(maps.Keys(template.Labels)),
		Annotations: slices.Sorted(maps.Keys(template.Annotations)),
	})
	if err != nil {
		return fmt.Errorf("encode the names of labels and annotations: %w", err)
	}
	child.Labels = merged(child.Labels, earlier.Labels, template.Labels)
	child.Labels[vaultv1alpha1.ManagedByLabel] = vaultv1alpha1.ManagedByValue
	child.Annotations = merged(child.Annotations, earlier.Annotations, template.Annotations)
	child.Annotations[vaultv1alpha1.ManagedMetadataAnnotation] = string(note)
	return nil
}

// merged is have without what was wanted earlier, and with what is wanted now.
func merged(have map[string]string, earlier []string, wanted map[string]string) map[string]string {
	out := make(map[string]string, len(have)+len(wanted)+1)
	maps.Copy(out, have)
	for _, key := range earlier {
		delete(out, key)
	}
	maps.Copy(out, wanted)
	return out
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
