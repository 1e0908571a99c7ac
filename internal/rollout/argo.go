package rollout

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// ArgoRollout is the kind Rollout of Argo Rollouts
// (https://argo-rollouts.readthedocs.io/en/stable/features/specification/), which is
// looked after where its CustomResourceDefinition is installed. It is read without
// its Go types, which bring half of another operator along.
var ArgoRollout = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: KindArgoRollout}

func newArgoRollout() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(ArgoRollout)
	return u
}

// fromArgoRollout sees u as a Workload. ok is false for another kind, and for a Rollout
// that takes its pods from a workload of another kind (workloadRef): that is where the
// stamp belongs, and a change of it rolls the Rollout.
func fromArgoRollout(u *unstructured.Unstructured) (w Workload, ok bool) {
	if u.GroupVersionKind() != ArgoRollout {
		return Workload{}, false
	}
	fields, found, err := unstructured.NestedMap(u.Object, "spec", "template")
	if err != nil || !found {
		return Workload{}, false
	}
	template := &corev1.PodTemplateSpec{}
	// The CustomResourceDefinition does not check the template.
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, template); err != nil {
		return Workload{}, false
	}
	return Workload{KindArgoRollout, u, template}, true
}

// Phases of an Argo Rollout (github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1,
// RolloutPhase); the fourth is Progressing.
const (
	phaseHealthy  = "Healthy"
	phaseDegraded = "Degraded"
	phasePaused   = "Paused"
)

func argoRolloutState(u *unstructured.Unstructured) (vaultv1alpha1.WorkloadState, string) {
	observed, _, _ := unstructured.NestedString(u.Object, "status", "observedGeneration")
	if observed != strconv.FormatInt(u.GetGeneration(), 10) {
		return vaultv1alpha1.WorkloadRollingOut, ""
	}
	phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	switch phase {
	case phaseHealthy:
		return vaultv1alpha1.WorkloadCurrent, ""
	case phaseDegraded:
		return vaultv1alpha1.WorkloadFailed, "the Rollout is degraded; kubectl argo rollouts get rollout -n " + u.GetNamespace() + " " + u.GetName()
	case phasePaused:
		return vaultv1alpha1.WorkloadPaused, "the Rollout is paused, by a person or at a step; kubectl argo rollouts promote -n " + u.GetNamespace() + " " + u.GetName()
	default:
		return vaultv1alpha1.WorkloadRollingOut, ""
	}
}

// stripArgoRollout keeps of u what this package reads.
func stripArgoRollout(u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	w, ok := fromArgoRollout(u)
	kept := newArgoRollout()
	for _, field := range []string{"namespace", "name", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "labels"} {
		value, found, err := unstructured.NestedFieldCopy(u.Object, "metadata", field)
		if err != nil || !found {
			continue
		}
		if err := unstructured.SetNestedField(kept.Object, value, "metadata", field); err != nil {
			return nil, err
		}
	}
	for _, field := range []string{"observedGeneration", "phase"} {
		if value, found, err := unstructured.NestedString(u.Object, "status", field); err == nil && found {
			if err := unstructured.SetNestedField(kept.Object, value, "status", field); err != nil {
				return nil, err
			}
		}
	}
	if seconds, found, err := unstructured.NestedInt64(u.Object, "spec", "progressDeadlineSeconds"); err == nil && found {
		if err := unstructured.SetNestedField(kept.Object, seconds, "spec", "progressDeadlineSeconds"); err != nil {
			return nil, err
		}
	}
	if selector, found, err := unstructured.NestedMap(u.Object, "spec", "selector"); err == nil && found {
		if err := unstructured.SetNestedMap(kept.Object, selector, "spec", "selector"); err != nil {
			return nil, err
		}
	}
	if ok {
		stripTemplate(w.Template)
		template, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w.Template)
		if err != nil {
			return nil, err
		}
		if err := unstructured.SetNestedMap(kept.Object, template, "spec", "template"); err != nil {
			return nil, err
		}
	}
	return kept, nil
}
