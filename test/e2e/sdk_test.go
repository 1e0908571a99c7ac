//go:build e2e

package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// exampleImage is the program of README.md, hack/sdkexample, in the node's image store.
const exampleImage = "coffer.local/sdkexample:dev"

// TestAProgramFollowsARotation runs the program of README.md in a pod that has a label and nothing else: one
// pod, without a restart, has the value of before a rotation and the one after it.
func TestAProgramFollowsARotation(t *testing.T) {
	e := newEnvironment(t)
	path := e.path("followed")
	values := []string{randomValue(), randomValue()}
	e.put(t, path, values[0])
	pod := e.examplePod(path)
	e.injecting(t, pod)
	must(t, e.client.Create(t.Context(), pod))
	e.waitForFingerprints(t, pod, 1)
	coffer(t, values[1], "rotate", path)
	log, found := e.waitForFingerprints(t, pod, 2)

	if found[0][1] != "1" || found[1][1] != "2" || found[0][2] == found[1][2] {
		t.Errorf("versions %s and %s, whose fingerprints differ: %v", found[0][1], found[1][1], found[0][2] != found[1][2])
	}
	for _, value := range values {
		if strings.Contains(log, value) {
			t.Error("a value is in the program's log")
		}
	}
	uid := pod.UID
	must(t, e.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	if pod.UID != uid || len(pod.Status.ContainerStatuses) != 1 || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the pod was replaced or restarted: %v", pod.Status.ContainerStatuses)
	}
}

// examplePod follows path. It has a label, and no other configuration.
func (e *environment) examplePod(path string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "follower", Labels: map[string]string{vaultv1alpha1.InjectLabel: "true"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "api", AutomountServiceAccountToken: new(false), TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{
				Name: "app", Image: exampleImage, ImagePullPolicy: corev1.PullNever, Env: []corev1.EnvVar{{Name: "SECRET_PATH", Value: path}},
			}},
		},
	}
}

// injecting labels the namespace, and waits until pods like this one are given a volume: the
// API server learns of the label through a watch.
func (e *environment) injecting(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: e.namespace}}
	label := `{"metadata": {"labels": {"` + vaultv1alpha1.InjectionLabel + `": "` + vaultv1alpha1.InjectionEnabled + `"}}}`
	must(t, e.client.Patch(t.Context(), namespace, client.RawPatch(types.MergePatchType, []byte(label))))
	eventually(t, "pods to be given a volume", func(ctx context.Context) (bool, error) {
		tried := pod.DeepCopy()
		err := e.client.Create(ctx, tried, client.DryRunAll)
		return len(tried.Spec.Volumes) > 0, err
	})
}

var fingerprintLine = regexp.MustCompile(`(?m)^version (\d+) has the fingerprint ([0-9a-f]{16})$`)

// waitForFingerprints waits until the pod printed so many, and returns its log, and version
// and fingerprint of each.
func (e *environment) waitForFingerprints(t *testing.T, pod *corev1.Pod, lines int) (log string, found [][]string) {
	t.Helper()
	eventually(t, "the program to print fingerprints", func(ctx context.Context) (bool, error) {
		content, err := e.clientset.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			return false, err // its container has not started yet
		}
		log = string(content)
		found = fingerprintLine.FindAllStringSubmatch(log, -1)
		return len(found) >= lines, nil
	})
	return log, found
}
