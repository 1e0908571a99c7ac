package rollout

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// State says how far the workload has rolled onto its present pod template, and
// what a person should do when it stands still. The message has no counts, so
// that it does not change with every pod.
func (w Workload) State() (vaultv1alpha1.WorkloadState, string) {
	switch o := w.Object.(type) {
	case *appsv1.Deployment:
		return deploymentState(o)
	case *appsv1.StatefulSet:
		return statefulSetState(o)
	case *appsv1.DaemonSet:
		return daemonSetState(o)
	case *unstructured.Unstructured:
		return argoRolloutState(o)
	default:
		return vaultv1alpha1.WorkloadRollingOut, ""
	}
}

// Reasons of the Deployment condition Progressing
// (k8s.io/kubernetes/pkg/controller/deployment/util).
const (
	reasonNewReplicaSetAvailable   = "NewReplicaSetAvailable"
	reasonProgressDeadlineExceeded = "ProgressDeadlineExceeded"
)

func deploymentState(d *appsv1.Deployment) (vaultv1alpha1.WorkloadState, string) {
	if d.Status.ObservedGeneration < d.Generation {
		return vaultv1alpha1.WorkloadRollingOut, ""
	}
	desired := replicas(d.Spec.Replicas)
	progress := progressReason(d)
	updated := d.Status.UpdatedReplicas >= desired && d.Status.Replicas <= d.Status.UpdatedReplicas
	// Once complete, the Deployment keeps this reason: a pod that fails its probe
	// later on is not an unfinished rollout.
	available := d.Status.AvailableReplicas >= desired || progress == reasonNewReplicaSetAvailable
	switch {
	case updated && available:
		return vaultv1alpha1.WorkloadCurrent, ""
	case d.Spec.Paused:
		return vaultv1alpha1.WorkloadPaused, "the Deployment is paused; " + resume("kubectl rollout resume", d.Namespace, "deployment", d.Name)
	case progress == reasonProgressDeadlineExceeded:
		return vaultv1alpha1.WorkloadFailed, "the rollout missed its progress deadline; " + resume("kubectl rollout status", d.Namespace, "deployment", d.Name)
	default:
		return vaultv1alpha1.WorkloadRollingOut, ""
	}
}

func progressReason(d *appsv1.Deployment) string {
	for _, condition := range d.Status.Conditions {
		if condition.Type == appsv1.DeploymentProgressing {
			return condition.Reason
		}
	}
	return ""
}

func statefulSetState(s *appsv1.StatefulSet) (vaultv1alpha1.WorkloadState, string) {
	if s.Status.ObservedGeneration < s.Generation {
		return vaultv1alpha1.WorkloadRollingOut, ""
	}
	desired := replicas(s.Spec.Replicas)
	if s.Status.UpdatedReplicas >= desired && s.Status.AvailableReplicas >= desired {
		return vaultv1alpha1.WorkloadCurrent, ""
	}
	if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return vaultv1alpha1.WorkloadPaused, onDelete("StatefulSet")
	}
	if partition := partitionOf(s); partition > 0 && s.Status.UpdatedReplicas >= desired-partition {
		return vaultv1alpha1.WorkloadPaused, fmt.Sprintf("the partition of the StatefulSet's update strategy holds back %d pods; lower it to roll them", partition)
	}
	return vaultv1alpha1.WorkloadRollingOut, ""
}

func partitionOf(s *appsv1.StatefulSet) int32 {
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		return *rolling.Partition
	}
	return 0
}

func daemonSetState(d *appsv1.DaemonSet) (vaultv1alpha1.WorkloadState, string) {
	if d.Status.ObservedGeneration < d.Generation {
		return vaultv1alpha1.WorkloadRollingOut, ""
	}
	desired := d.Status.DesiredNumberScheduled
	if d.Status.UpdatedNumberScheduled >= desired && d.Status.NumberAvailable >= desired {
		return vaultv1alpha1.WorkloadCurrent, ""
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType && d.Status.UpdatedNumberScheduled < desired {
		return vaultv1alpha1.WorkloadPaused, onDelete("DaemonSet")
	}
	return vaultv1alpha1.WorkloadRollingOut, ""
}

// replicas reads spec.replicas, which is 1 when absent.
func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func onDelete(kind string) string {
	return "the " + kind + " has the update strategy OnDelete; delete its pods to roll them"
}

func resume(command, namespace, kind, name string) string {
	return strings.Join([]string{command, "-n", namespace, kind + "/" + name}, " ")
}

// Strip drops from a cached Deployment, StatefulSet, DaemonSet or Argo Rollout what this
// package does not read, to keep the cache small: of its metadata it keeps the labels,
// for selectors. It is a
// k8s.io/client-go/tools/cache.TransformFunc; the result must not be written back.
func Strip(obj any) (any, error) {
	var template *corev1.PodTemplateSpec
	switch o := obj.(type) {
	case *appsv1.Deployment:
		o.ManagedFields, o.Annotations = nil, nil
		template = &o.Spec.Template
	case *appsv1.StatefulSet:
		o.ManagedFields, o.Annotations = nil, nil
		o.Spec.VolumeClaimTemplates = nil
		template = &o.Spec.Template
	case *appsv1.DaemonSet:
		o.ManagedFields, o.Annotations = nil, nil
		template = &o.Spec.Template
	case *unstructured.Unstructured:
		if o.GroupVersionKind() != ArgoRollout {
			return obj, nil
		}
		return stripArgoRollout(o)
	default:
		return obj, nil
	}
	stripTemplate(template)
	return obj, nil
}

func stripTemplate(template *corev1.PodTemplateSpec) {
	stamps := map[string]string{}
	for key, value := range template.Annotations {
		if strings.HasPrefix(key, vaultv1alpha1.StampAnnotationPrefix) {
			stamps[key] = value
		}
	}
	// Every name in one place tells the same as where each was used.
	var volumes []corev1.Volume
	for _, name := range SecretsOf(&template.Spec) {
		volumes = append(volumes, corev1.Volume{VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: name},
		}})
	}
	*template = corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: volumes}}
	if len(stamps) > 0 {
		template.Annotations = stamps
	}
}
