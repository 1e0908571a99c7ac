package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// Selection says which workloads follow a Secret. Its zero value stands for those
// that use it.
type Selection struct {
	targets  []vaultv1alpha1.RolloutTarget
	selector labels.Selector // nil for none
}

// SelectionOf reads a spec. It fails when the selector has a label that cannot be.
func SelectionOf(spec *vaultv1alpha1.VaultSecretRollout) (Selection, error) {
	s := Selection{targets: spec.Targets}
	if spec.Selector == nil {
		return s, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err != nil {
		return Selection{}, fmt.Errorf("spec.rollout.selector: %w", err)
	}
	s.selector = selector
	return s, nil
}

// Explicit reports whether workloads are named, so that use counts for nothing.
func (s Selection) Explicit() bool { return len(s.targets) > 0 || s.selector != nil }

// Selects reports whether w follows the Secret of that name.
func (s Selection) Selects(w Workload, secretName string) bool {
	if !s.Explicit() {
		return w.Uses(secretName)
	}
	name := w.Object.GetName()
	return s.selector != nil && s.selector.Matches(labels.Set(w.Object.GetLabels())) ||
		slices.ContainsFunc(s.targets, func(t vaultv1alpha1.RolloutTarget) bool { return string(t.Kind) == w.Kind && t.Name == name })
}

// errNoTemplate says that a workload has no pod template of its own.
var errNoTemplate = errors.New("it has no pod template")

// unfollowed is the status of a target that cannot be rolled, for the reason err; ok is
// false when it may be one of the moment.
func unfollowed(target vaultv1alpha1.RolloutTarget, err error) (status vaultv1alpha1.WorkloadStatus, ok bool) {
	status = vaultv1alpha1.WorkloadStatus{Kind: string(target.Kind), Name: target.Name}
	switch {
	case apierrors.IsNotFound(err):
		status.State = vaultv1alpha1.WorkloadNotFound
		status.Message = "spec.rollout.targets names it and it does not exist; correct the name, or create it: it then starts with the present content"
	case errors.Is(err, errNoTemplate):
		status.State = vaultv1alpha1.WorkloadFailed
		status.Message = "it takes its pods from its spec.workloadRef; name that workload in spec.rollout.targets in its place"
	default:
		return status, false
	}
	return status, true
}

// selected finds the workloads that follow the Secret, by kind and name, and the
// targets that cannot. It need not see the latest writes: whoever stamps reads
// again.
func (r Roller) selected(ctx context.Context, namespace, secretName string, s Selection) ([]Workload, []vaultv1alpha1.WorkloadStatus, error) {
	var found []Workload
	var missing []vaultv1alpha1.WorkloadStatus
	for _, target := range s.targets {
		w, err := r.get(ctx, string(target.Kind), client.ObjectKey{Namespace: namespace, Name: target.Name}, client.DisableReadYourWritesConsistency)
		if err == nil {
			found = append(found, w)
			continue
		}
		status, ok := unfollowed(target, err)
		if !ok {
			return nil, nil, err
		}
		missing = append(missing, status)
	}
	var options []client.ListOption
	switch {
	case s.selector != nil:
		options = append(options, client.MatchingLabelsSelector{Selector: s.selector})
	case len(s.targets) == 0:
		options = append(options, client.MatchingFields{SecretIndex: secretName})
	}
	if len(options) > 0 {
		listed, err := r.list(ctx, append(options, client.InNamespace(namespace), client.DisableReadYourWritesConsistency)...)
		if err != nil {
			return nil, nil, fmt.Errorf("list the workloads that follow Secret %s/%s: %w", namespace, secretName, err)
		}
		found = append(found, listed...)
	}
	found = slices.DeleteFunc(found, func(w Workload) bool { return !w.Object.GetDeletionTimestamp().IsZero() })
	slices.SortFunc(found, func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Object.GetName(), b.Object.GetName()))
	})
	// A target may have the labels of the selector too.
	found = slices.CompactFunc(found, func(a, b Workload) bool { return a.Kind == b.Kind && a.Object.GetName() == b.Object.GetName() })
	return found, missing, nil
}

// get reads one workload from the cache.
func (r Roller) get(ctx context.Context, kind string, key client.ObjectKey, options ...client.GetOption) (Workload, error) {
	for _, obj := range Objects(r.ArgoRollouts) {
		if kindOf(obj) != kind {
			continue
		}
		if err := r.Client.Get(ctx, key, obj, options...); err != nil {
			return Workload{}, fmt.Errorf("get the %s %s: %w", kind, key, err)
		}
		w, ok := FromObject(obj)
		if !ok {
			return Workload{}, fmt.Errorf("read the %s %s: %w", kind, key, errNoTemplate)
		}
		return w, nil
	}
	// Where Argo Rollouts is not installed there are none.
	return Workload{}, apierrors.NewNotFound(schema.GroupResource{Resource: kind}, key.Name)
}

func kindOf(obj client.Object) string {
	if w, ok := FromObject(obj); ok {
		return w.Kind
	}
	return KindArgoRollout // an empty one has no template
}

func (r Roller) list(ctx context.Context, options ...client.ListOption) ([]Workload, error) {
	var found []Workload
	var deployments appsv1.DeploymentList
	var statefulSets appsv1.StatefulSetList
	var daemonSets appsv1.DaemonSetList
	for _, list := range []client.ObjectList{&deployments, &statefulSets, &daemonSets} {
		if err := r.Client.List(ctx, list, options...); err != nil {
			return nil, err
		}
	}
	add := func(obj client.Object) {
		if w, ok := FromObject(obj); ok {
			found = append(found, w)
		}
	}
	for i := range deployments.Items {
		add(&deployments.Items[i])
	}
	for i := range statefulSets.Items {
		add(&statefulSets.Items[i])
	}
	for i := range daemonSets.Items {
		add(&daemonSets.Items[i])
	}
	if !r.ArgoRollouts {
		return found, nil
	}
	rollouts := &unstructured.UnstructuredList{}
	rollouts.SetGroupVersionKind(ArgoRollout.GroupVersion().WithKind(KindArgoRollout + "List"))
	if err := r.Client.List(ctx, rollouts, options...); err != nil {
		return nil, err
	}
	for i := range rollouts.Items {
		add(&rollouts.Items[i])
	}
	return found, nil
}
