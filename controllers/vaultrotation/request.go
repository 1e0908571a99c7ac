package vaultrotation

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/controller"

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
		if value == "" || value == it.object.Status.LastRotateRequest || !it.canBegin() {
			continue
		}
		ok, err := r.begin(ctx, it)
		errs = append(errs, err)
		if ok {
			it.request, began = &value, true
		}
	}
	return began, errors.Join(errs...)
}

// canBegin reports whether it is of use to ask the engine, which audits each refusal.
func (it *item) canBegin() bool {
	s := it.standing
	return s != nil && !s.Denied && (s.Newest == nil || s.Newest.State.Ended())
}

// begin has the rotation of an item begin, in the name of its own account. It is false when it cannot now.
func (r *Reconciler) begin(ctx context.Context, it *item) (bool, error) {
	path, err := secret.ParsePath(it.definition.Path)
	if err != nil {
		return false, err
	}
	caller := it.definition.As.Caller(r.Cluster, string(controller.ReconcileIDFromContext(ctx)))
	_, err = r.Engine.RunRotation(ctx, caller, path, rotation.Request{Event: "an annotation of the VaultRotation " + it.object.Name})
	switch {
	case errors.Is(err, secret.ErrConflict), errors.Is(err, secret.ErrDenied):
		return false, nil // the condition says so
	case err != nil:
		return false, fmt.Errorf("begin the rotation %s, which the annotation asks for: %w", it.object.Name, err)
	}
	return true, nil
}

// requestOf is the annotation, as far as the status repeats it.
func requestOf(object *vaultv1alpha1.VaultRotation) string {
	return cut(object.Annotations[vaultv1alpha1.RotateAnnotation], maxRequest)
}

// cut is the beginning of text, at most so many bytes of whole characters.
func cut(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}
