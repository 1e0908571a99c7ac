package rollout

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// settledAfter is how long a new pod must have been ready before it counts as one
	// that works: without a readiness probe a pod is ready before it crashes.
	settledAfter = 30 * time.Second
	// ripeAfter is the age at which a pod that is not ready, and does not crash, no
	// longer keeps a rollout that is complete from counting as a success.
	ripeAfter = 5 * time.Minute
	// stuckAfter is how long a new pod of a StatefulSet or DaemonSet may take to be
	// ready: as long as a Deployment's default progress deadline.
	stuckAfter = 10 * time.Minute
	// crashes is how many restarts make a crash loop: many a program is started a
	// second time because what it needs came later.
	crashes = 2
)

// Bounds of a look at the pods of one workload: pods of a page, and pages. Where there
// are more pods, the first tell for all.
const (
	podPage  = 500
	podPages = 4
)

// sighting is what was seen of the pods of a workload's present template.
type sighting struct {
	// crash says which container crashes and where to look; empty when none does. It
	// names no pod, so that it stays the same while pods come and go.
	crash string
	// stuck says that a pod is not ready for stuckAfter.
	stuck bool
	// settled says that every pod works; so does no pod.
	settled bool
}

// sight looks at those of pods that were made from a template with this stamp for the
// Secret. What is wrong with them counts from the moment at which the Secret came back.
func sight(w Workload, secretName string, cameBack time.Time, pods []corev1.Pod, now time.Time) sighting {
	stamp := w.Stamp(secretName)
	seen := sighting{settled: true}
	for i := range pods {
		pod := &pods[i]
		if pod.Annotations[StampAnnotation(secretName)] != stamp || !pod.DeletionTimestamp.IsZero() || pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		ready, since := readiness(pod)
		age := now.Sub(later(pod.CreationTimestamp.Time, cameBack))
		works := ready && now.Sub(since) >= settledAfter
		if !works && seen.crash == "" {
			seen.crash = crashOf(w, pod, cameBack)
		}
		if !works && (ready || age < ripeAfter) {
			seen.settled = false
		}
		if !ready && now.Sub(later(since, cameBack)) >= stuckAfter {
			seen.stuck = true
		}
	}
	return seen
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// readiness tells whether the pod is ready, and since when it is or is not.
func readiness(pod *corev1.Pod) (ready bool, since time.Time) {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady && !condition.LastTransitionTime.IsZero() {
			return condition.Status == corev1.ConditionTrue, condition.LastTransitionTime.Time
		}
	}
	return false, pod.CreationTimestamp.Time
}

// crashOf says which container of the pod crashes again and again; empty when none
// does. What began before the Secret came back, as it may where the Secret is optional, is
// not told. Of what the container left behind it tells the exit code only: its message
// may hold anything.
func crashOf(w Workload, pod *corev1.Pod, cameBack time.Time) string {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			container := &statuses[i]
			looping := container.State.Waiting != nil && container.State.Waiting.Reason == "CrashLoopBackOff"
			last := container.LastTerminationState.Terminated
			if container.State.Terminated != nil {
				last = container.State.Terminated
			}
			failing := container.RestartCount >= crashes && last != nil && last.ExitCode != 0
			if !looping && !failing || last != nil && !last.StartedAt.IsZero() && last.StartedAt.Time.Before(cameBack) {
				continue
			}
			code := ""
			if last != nil {
				code = fmt.Sprintf(" with exit code %d", last.ExitCode)
			}
			return fmt.Sprintf("the container %s of a new pod crashes%s; kubectl logs -n %s -l %s -c %s --previous",
				container.Name, code, pod.Namespace, metav1.FormatLabelSelector(selectorOf(w)), container.Name)
		}
	}
	return ""
}

// PodsError says that the pods of a workload, kind/name, could not be listed: nobody
// knows whether its rollout works.
type PodsError struct {
	Workload string
	Err      error
}

func (e *PodsError) Error() string { return "list the pods of " + e.Workload + ": " + e.Err.Error() }

// Unwrap is what the API server answered.
func (e *PodsError) Unwrap() error { return e.Err }

// look lists the pods of the workload, live and a bounded number of them, since no
// cache of all pods is worth the few moments in which they matter. It fails with a
// PodsError.
func (r Roller) look(ctx context.Context, w Workload, secretName string, cameBack, now time.Time) (sighting, error) {
	selector, err := metav1.LabelSelectorAsSelector(selectorOf(w))
	if err != nil || selector.Empty() {
		selector = labels.Nothing()
	}
	var pods []corev1.Pod
	next := ""
	for range podPages {
		var page corev1.PodList
		err := r.Pods.List(ctx, &page, client.InNamespace(w.Object.GetNamespace()),
			client.MatchingLabelsSelector{Selector: selector}, client.Limit(podPage), client.Continue(next))
		if err != nil {
			return sighting{}, &PodsError{Workload: w.Kind + "/" + w.Object.GetName(), Err: err}
		}
		pods = append(pods, page.Items...)
		if next = page.Continue; next == "" {
			break
		}
	}
	return sight(w, secretName, cameBack, pods, now), nil
}

// selectorOf is the label selector of the workload's pods; nil when there is none.
func selectorOf(w Workload) *metav1.LabelSelector {
	switch o := w.Object.(type) {
	case *appsv1.Deployment:
		return o.Spec.Selector
	case *appsv1.StatefulSet:
		return o.Spec.Selector
	case *appsv1.DaemonSet:
		return o.Spec.Selector
	case *unstructured.Unstructured:
		fields, found, err := unstructured.NestedMap(o.Object, "spec", "selector")
		if err != nil || !found {
			return nil
		}
		selector := &metav1.LabelSelector{}
		// Its CustomResourceDefinition does not check it to the last.
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, selector); err != nil {
			return nil
		}
		return selector
	default:
		return nil
	}
}
