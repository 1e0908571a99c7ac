package vaultrotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
)

// rotations are all VaultRotations, and what becomes of each.
type rotations struct {
	items []item
	// raced says that a status was not written, since the object is another by now.
	raced bool
}

// item is one VaultRotation.
type item struct {
	object *vaultv1alpha1.VaultRotation
	// definition is for the engine, unless there is a problem with it.
	definition rotation.Definition
	problem    *problem
	// standing is how it stands; nil when that is not known.
	standing *rotation.Standing
	// request is the annotation that was acted on by this run; nil when none was.
	request *string
}

// problem is why a VaultRotation is left out: what its condition says.
type problem struct{ reason, message string }

// Error implements error.
func (p *problem) Error() string { return p.message }

// definitions are those of the items without a problem, by the name of the objects.
func (s *rotations) definitions() []rotation.Definition {
	definitions := make([]rotation.Definition, 0, len(s.items))
	for i := range s.items {
		if s.items[i].problem == nil {
			definitions = append(definitions, s.items[i].definition)
		}
	}
	slices.SortFunc(definitions, func(a, b rotation.Definition) int { return cmp.Compare(a.Name, b.Name) })
	return definitions
}

// resolve makes a definition of each VaultRotation, or says what is wrong with it. One that is being deleted is none any more. An error is about
// none of them: it was not found out.
func (r *Reconciler) resolve(ctx context.Context, objects []vaultv1alpha1.VaultRotation) (*rotations, error) {
	// The older one keeps the path, also while something is wrong with it: a path does not change hands because an account is made anew.
	slices.SortFunc(objects, func(a, b vaultv1alpha1.VaultRotation) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	set := &rotations{}
	owners := map[vaultv1alpha1.VaultPath]string{}
	for i := range objects {
		object := &objects[i]
		if !object.DeletionTimestamp.IsZero() {
			continue
		}
		it := item{object: object}
		var err error
		if owner, taken := owners[object.Spec.Path]; taken {
			err = &problem{vaultv1alpha1.ReasonPathTaken, fmt.Sprintf(
				"the older VaultRotation %s rotates %s: delete one of the two, or change its path", owner, object.Spec.Path)}
		} else {
			owners[object.Spec.Path] = object.Name
			it.definition, err = r.define(ctx, object)
		}
		if err != nil && !errors.As(err, &it.problem) {
			return nil, err
		}
		set.items = append(set.items, it)
	}
	return set, nil
}

// define makes the engine's definition of a VaultRotation. It fails with a problem when there can be none.
func (r *Reconciler) define(ctx context.Context, object *vaultv1alpha1.VaultRotation) (rotation.Definition, error) {
	spec, err := convert(&object.Spec)
	if err == nil {
		err = r.CheckMethod(spec.Method.Kind, spec.Method.Settings)
	}
	if err != nil {
		return rotation.Definition{}, invalid(err)
	}
	as, err := r.identify(ctx, object.Spec.ServiceAccountRef)
	if err != nil {
		return rotation.Definition{}, err
	}
	d := rotation.Definition{Name: object.Name, As: as, Spec: spec}
	if err := d.Validate(); err != nil {
		return rotation.Definition{}, invalid(err)
	}
	return d, nil
}

func invalid(err error) *problem {
	return &problem{vaultv1alpha1.ReasonInvalidSpec, "nothing is rotated: " + err.Error()}
}
