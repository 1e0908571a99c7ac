//go:build e2e

package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// exampleImage is the program of README.md, hack/sdkexample, in the node's image store.
const exampleImage = "coffer.local/sdkexample:dev"

// TestAProgramFollowsARotation runs the program of README.md with a projected token: one
// pod, without a restart, has the value of before a rotation and the one after it.
func TestAProgramFollowsARotation(t *testing.T) {
	e := newEnvironment(t)
	path := e.path("followed")
	values := []string{randomValue(), randomValue()}
	e.put(t, path, values[0])
	e.copyAuthority(t)
	pod := e.examplePod(path)
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

// copyAuthority puts the authority beside the workload, as docs/guides/sdk.md says.
func (e *environment) copyAuthority(t *testing.T) {
	t.Helper()
	var published corev1.ConfigMap
	must(t, e.client.Get(t.Context(), client.ObjectKey{Namespace: installation, Name: "coffer-ca"}, &published))
	must(t, e.client.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: published.Name}, Data: published.Data,
	}))
}

// examplePod follows path, with the volume of docs/guides/sdk.md and no other configuration.
func (e *environment) examplePod(path string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "follower"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "api", AutomountServiceAccountToken: new(false), TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{
				Name: "app", Image: exampleImage, ImagePullPolicy: corev1.PullNever, Env: []corev1.EnvVar{{Name: "SECRET_PATH", Value: path}},
				VolumeMounts: []corev1.VolumeMount{{Name: "coffer", MountPath: "/var/run/secrets/coffer.dev", ReadOnly: true}},
			}},
			Volumes: []corev1.Volume{{Name: "coffer", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{
					{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "coffer", ExpirationSeconds: new(int64(3600)), Path: "token"}},
					{ConfigMap: &corev1.ConfigMapProjection{
						LocalObjectReference: corev1.LocalObjectReference{Name: "coffer-ca"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
					}},
				},
			}}}},
		},
	}
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
