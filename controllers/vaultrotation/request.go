package vaultrotation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// maxRequest bounds what the status repeats of the annotation, in bytes.
const maxRequest = 256

// request begins the rotations that annotations ask for, and reports whether one did. While a rotation is under way a request waits: that
// one may have made its credential before.
func (r *Reconciler) request(ctx context.Context, set *rotations) (began bool, err error) {
	var errs []error
	for i := range set.items {
		it := &set.items[i]
		value := requestOf(it.object)
		if value == "" || value == it.object.Status.LastRotateRequest || it.standing == nil {
			continue
		}
		event := eventOf(it.object, value)
		if newest := it.standing.Newest; newest != nil && newest.Cause == rotation.ByEvent && newest.By == event {
			it.request = &value // by whoever was killed, or lost a race, before the status said so
			continue
		}
		if !mayBegin(it.standing) {
			continue
		}
		ok, err := r.begin(ctx, it, event)
		errs = append(errs, err)
		if ok {
			it.request, began = &value, true
		}
	}
	return began, errors.Join(errs...)
}

// mayBegin reports whether it is of use to ask the engine, which audits each refusal.
func mayBegin(s *rotation.Standing) bool {
	return !s.Denied && (s.Newest == nil || s.Newest.State.Ended())
}

// begin has the rotation of an item begin, in the name of its own account. It is false when it cannot now.
func (r *Reconciler) begin(ctx context.Context, it *item, event string) (bool, error) {
	path, err := secret.ParsePath(it.definition.Path)
	if err != nil {
		return false, err
	}
	caller := it.definition.As.Caller(r.Cluster, string(controller.ReconcileIDFromContext(ctx)))
	_, err = r.Engine.RunRotation(ctx, caller, path, rotation.Request{Event: event})
	switch {
	case errors.Is(err, secret.ErrConflict), errors.Is(err, secret.ErrDenied):
		return false, nil // the condition says so
	case errors.Is(err, secret.ErrTampered), errors.Is(err, secret.ErrInvalid): // of this one: the others go on
		log.FromContext(ctx).Error(err, "a rotation that an annotation asks for cannot begin", "rotation", it.object.Name)
		return false, nil
	case err != nil:
		return false, fmt.Errorf("begin the rotation %s, which the annotation asks for: %w", it.object.Name, err)
	}
	return true, nil
}

// eventOf is what is said to have asked for a run. It is another one for each value.
func eventOf(object *vaultv1alpha1.VaultRotation, value string) string {
	return fmt.Sprintf("VaultRotation %s, %s=%s", object.Name, vaultv1alpha1.RotateAnnotation, value)
}

// requestOf is the annotation, as far as the status repeats it.
func requestOf(object *vaultv1alpha1.VaultRotation) string {
	return cut(object.Annotations[vaultv1alpha1.RotateAnnotation], maxRequest)
}

// cut is the beginning of text, at most so many bytes of whole characters.
func cut(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}
