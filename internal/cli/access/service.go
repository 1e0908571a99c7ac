package access

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// appLabel is on all objects of an installation, and httpsPort is the name of the API's
// port in its Service and its pods.
const (
	appLabel  = "app.kubernetes.io/name=coffer"
	httpsPort = "https"
)

// endpoint is the API's Service.
type endpoint struct {
	namespace, name string
	port            int32
	target          intstr.IntOrString
	selector        map[string]string
}

// host is the name in the server's certificate.
func (e endpoint) host() string { return e.name + "." + e.namespace + ".svc" }

// findService returns the installation's Service.
func (i *Installation) findService(ctx context.Context) (endpoint, error) {
	namespace := i.target.Namespace
	list, err := i.kube.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{LabelSelector: appLabel})
	if apierrors.IsForbidden(err) {
		return endpoint{}, &Error{
			Message: fmt.Sprintf("you may not list the Services of namespace %s, to find Coffer's", namespace),
			Next: i.grant(ctx, right{namespace: namespace, role: "coffer-find", verb: "list", resource: "services,pods"}) +
				"\nOr say where the server is: --address URL",
		}
	}
	if err != nil {
		return endpoint{}, &Error{Kind: Unreachable, Message: "find Coffer's Service", cause: err}
	}
	var found []endpoint
	for _, s := range list.Items {
		for _, p := range s.Spec.Ports {
			if p.Name == httpsPort && len(s.Spec.Selector) > 0 {
				found = append(found, endpoint{namespace: namespace, name: s.Name, port: p.Port, target: p.TargetPort, selector: s.Spec.Selector})
			}
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return endpoint{}, &Error{
			Kind: Unreachable, Message: fmt.Sprintf("there is no Service of Coffer in namespace %s of context %s", namespace, i.target.Context),
			Next: "Where is it? kubectl get services -A -l " + appLabel + "; then name its namespace with -n.",
		}
	default:
		return endpoint{}, &Error{
			Kind:    Unreachable,
			Message: fmt.Sprintf("namespace %s has several Services of Coffer", namespace),
			Next:    "Say where the server is: --address URL",
		}
	}
}

// findPod returns a pod behind e that is ready, and the port of its API.
func (i *Installation) findPod(ctx context.Context, e endpoint) (name string, port int32, err error) {
	selector := labels.SelectorFromSet(e.selector).String()
	list, err := i.kube.CoreV1().Pods(e.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if apierrors.IsForbidden(err) {
		return "", 0, &Error{
			Message: fmt.Sprintf("you may not list the pods of namespace %s, to find one of Coffer's", e.namespace),
			Next: i.grant(ctx, right{namespace: e.namespace, role: "coffer-find", verb: "list", resource: "services,pods"}) +
				"\nOr say where the server is: --address URL",
		}
	}
	if err != nil {
		return "", 0, &Error{Kind: Unreachable, Message: "find a pod of Coffer", cause: err}
	}
	for _, pod := range list.Items {
		if port := portOf(pod, e.target); ready(pod) && port != 0 {
			return pod.Name, port, nil
		}
	}
	return "", 0, &Error{
		Kind: Unreachable, Message: fmt.Sprintf("no pod of Coffer in namespace %s is ready (%s)", e.namespace, states(list.Items)),
		Next: fmt.Sprintf("See why: kubectl -n %s describe pods -l %s", ShellWord(e.namespace), selector),
	}
}

// ready says that the pod serves, and is not about to end.
func ready(pod corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// portOf is the number of the container port that target names; 0 when there is none.
func portOf(pod corev1.Pod, target intstr.IntOrString) int32 {
	if target.Type == intstr.Int {
		return target.IntVal
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == target.StrVal {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// states says which pods there are, for a person.
func states(pods []corev1.Pod) string {
	if len(pods) == 0 {
		return "there are none"
	}
	said := make([]string, len(pods))
	for n, pod := range pods {
		said[n] = fmt.Sprintf("%s: %s", pod.Name, pod.Status.Phase)
	}
	return strings.Join(said, ", ")
}
