package vaultsecret

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/managedmeta"
)

// Flows of failpoints: the writes of a reconcile.
const (
	syncing       = "secret-write"
	removal       = "secret-delete"
	statusWriting = "status-write"
)

// applyMetadata makes the metadata of target what the VaultSecret wants of it, and
// leaves labels and annotations of others alone. It reports whether anything
// changed.
func (r *Reconciler) applyMetadata(s *scope, target *corev1.Secret) (bool, error) {
	before := target.ObjectMeta.DeepCopy()
	wanted := s.object.Spec.Target
	if err := managedmeta.Apply(&target.ObjectMeta, wanted.Labels, wanted.Annotations); err != nil {
		return false, err
	}
	target.Labels[vaultv1alpha1.ManagedByLabel] = vaultv1alpha1.ManagedByValue
	target.Annotations[vaultv1alpha1.ChecksumAnnotation] = s.checksum
	target.Annotations[vaultv1alpha1.InputsAnnotation] = s.inputs
	target.Annotations[vaultv1alpha1.VaultAnnotation] = vaultChecksum(r.Vault)
	setOwner(s.object, target)
	return !apiequality.Semantic.DeepEqual(before, &target.ObjectMeta), nil
}

// setOwner marks target as belonging to object: by a controller reference, so that
// it is garbage collected, or by an annotation, so that it is not.
func setOwner(object *vaultv1alpha1.VaultSecret, target *corev1.Secret) {
	target.OwnerReferences = slices.DeleteFunc(target.OwnerReferences, func(owner metav1.OwnerReference) bool {
		return owner.UID == object.UID
	})
	unmark(target)
	if retains(object) {
		target.Annotations[vaultv1alpha1.OwnerUIDAnnotation] = string(object.UID)
		return
	}
	delete(target.Annotations, vaultv1alpha1.OwnerUIDAnnotation)
	target.OwnerReferences = append(target.OwnerReferences, metav1.OwnerReference{
		APIVersion:         vaultv1alpha1.GroupVersion.String(),
		Kind:               "VaultSecret",
		Name:               object.Name,
		UID:                object.UID,
		Controller:         new(true),
		BlockOwnerDeletion: new(false), // nothing waits for the Secret
	})
}

// write makes the Secret hold data. existing is what the cache has, or nil.
func (r *Reconciler) write(ctx context.Context, s *scope, existing *corev1.Secret, data map[string][]byte) error {
	if existing == nil {
		return r.create(ctx, s, data)
	}
	if s.holdsImmutable(existing) {
		return r.writeImmutable(ctx, s, existing)
	}
	if existing.Type != targetType(s.object) || ptr.Deref(existing.Immutable, false) {
		return r.replace(ctx, s, existing, data)
	}
	target := existing.DeepCopy()
	if _, err := r.applyMetadata(s, target); err != nil {
		return err
	}
	target.Data = data
	// The resource version of the cached object makes this fail when anybody wrote
	// since.
	if err := r.written(s, target, func() error { return r.Update(ctx, target) }); err != nil {
		return writeFailure("update the Secret "+target.Name, err)
	}
	return nil
}

// written writes target, and finds out whether anybody else did meanwhile.
func (r *Reconciler) written(s *scope, target *corev1.Secret, write func() error) error {
	end := r.own.begin(s.key(), target)
	err := errPanicked
	defer func() { s.overtaken = end(err) || s.overtaken }()
	err = write()
	return err
}

// errPanicked ends a write that came to no end. Nobody sees it.
var errPanicked = errors.New("the write panicked")

// create makes the Secret. One that is there already is updated when it is ours and
// the cache did not know it.
func (r *Reconciler) create(ctx context.Context, s *scope, data map[string][]byte) error {
	target, err := r.newTarget(s, nil, data)
	if err != nil {
		return err
	}
	err = r.written(s, target, func() error { return r.Create(ctx, target) })
	if apierrors.IsAlreadyExists(err) {
		existing, err := r.liveTarget(ctx, s)
		if err != nil {
			return err
		}
		if existing == nil {
			return errConflict
		}
		s.existing = existing
		return r.write(ctx, s, existing, data)
	}
	if err != nil {
		return writeFailure("create the Secret "+target.Name, err)
	}
	return nil
}

// replace deletes the Secret and makes it anew, since Kubernetes lets neither its
// type nor an immutable one be changed. A dry run comes first: a Secret that would
// be refused is no reason to lose the one that is there.
func (r *Reconciler) replace(ctx context.Context, s *scope, existing *corev1.Secret, data map[string][]byte) error {
	target, err := r.newTarget(s, existing, data)
	if err != nil {
		return err
	}
	err = r.Create(ctx, target.DeepCopy(), client.DryRunAll, client.DisableReadYourWritesConsistency)
	if err != nil && !apierrors.IsAlreadyExists(err) { // which comes after validation
		return writeFailure("replace the Secret "+target.Name, err)
	}
	if err := r.remove(ctx, existing); err != nil {
		return err
	}
	failpoint.Hit(syncing, failpoint.Removed)
	err = r.written(s, target, func() error { return r.Create(ctx, target) })
	if apierrors.IsAlreadyExists(err) {
		return errConflict
	}
	if err != nil {
		return writeFailure("create the Secret "+target.Name, err)
	}
	return nil
}

// newTarget is the Secret to create. Labels and annotations of template, which may
// be nil, are kept.
func (r *Reconciler) newTarget(s *scope, template *corev1.Secret, data map[string][]byte) (*corev1.Secret, error) {
	target := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.object.Namespace, Name: s.secretName()},
		Type:       targetType(s.object),
	}
	if template != nil {
		target.Labels, target.Annotations = maps.Clone(template.Labels), maps.Clone(template.Annotations)
	}
	if _, err := r.applyMetadata(s, target); err != nil {
		return nil, err
	}
	target.Data = data
	if s.object.Spec.Target.Immutable {
		target.Immutable = new(true)
	}
	return target, nil
}

// liveTarget reads the target from the API server, without its data. It is nil
// when there is none, and an error when this VaultSecret may not write it.
func (r *Reconciler) liveTarget(ctx context.Context, s *scope) (*corev1.Secret, error) {
	live := &corev1.Secret{}
	err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: s.object.Namespace, Name: s.secretName()}, live)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get the Secret %s: %w", s.secretName(), err)
	}
	if err := r.claim(ctx, s, live); err != nil {
		return nil, err
	}
	if _, err := secretTransform(r.Vault)(live); err != nil {
		return nil, err
	}
	return live, nil
}

// writeMetadata puts labels, annotations and the owner right where the data are
// right already.
func (r *Reconciler) writeMetadata(ctx context.Context, s *scope) error {
	target := s.existing.DeepCopy()
	changed, err := r.applyMetadata(s, target)
	if err != nil || !changed {
		return err
	}
	patch := client.MergeFromWithOptions(s.existing, client.MergeFromWithOptimisticLock{})
	if err := r.written(s, target, func() error { return r.Patch(ctx, target, patch) }); err != nil {
		return writeFailure("update the Secret "+target.Name, err)
	}
	// What is taken away of a Secret that was retained is Coffer's own mark.
	s.written, s.restored = true, !marked(s.existing)
	return nil
}

// remove deletes exactly the Secret that was looked at.
func (r *Reconciler) remove(ctx context.Context, target *corev1.Secret) error {
	failpoint.Hit(removal, failpoint.BeforeWrite)
	err := r.Delete(ctx, target,
		client.Preconditions{UID: &target.UID, ResourceVersion: &target.ResourceVersion},
		// The cache need not have the Secret, and would then be waited for in vain.
		client.DisableReadYourWritesConsistency)
	if err := client.IgnoreNotFound(err); err != nil {
		return writeFailure("delete the Secret "+target.Name, err)
	}
	failpoint.Hit(removal, failpoint.AfterWrite)
	return nil
}
