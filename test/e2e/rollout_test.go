//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/hack/sampleapp/fingerprint"
)

// sampleImage is the program of hack/sampleapp, in the node's image store.
const sampleImage = "coffer.local/sampleapp:dev"

const fingerprintKey = "e2e"

// TestWorkloadsRollOnceAndOnlyOnChange mounts one Secret in a Deployment, takes it
// into the environment of a DaemonSet, and projects it into a StatefulSet. All
// three must see the old value, then the new one, by one rollout each; and a new
// operator must roll nothing.
func TestWorkloadsRollOnceAndOnlyOnChange(t *testing.T) {
	e := newEnvironment(t)
	first, second := randomValue(), randomValue()
	e.put(t, e.path("database"), first)
	vs := e.vaultSecret(t, e.namespace, "database", e.path("database"))
	workloads := []client.Object{e.deployment(), e.daemonSet(), e.statefulSet()}
	for _, workload := range workloads {
		must(t, e.client.Create(t.Context(), workload))
	}
	// They wait in ContainerCreating until the Secret is there: its first content
	// rolls nobody.
	for _, workload := range workloads {
		e.waitForFingerprint(t, workload.GetName(), first)
	}
	before := e.templateHashes(t)

	coffer(t, second, "rotate", e.path("database"))
	for _, workload := range workloads {
		e.waitForFingerprint(t, workload.GetName(), second)
	}
	e.waitForRolledOut(t, vs, 2, 3)
	after := e.templateHashes(t)
	for _, workload := range workloads {
		if got := after[workload.GetName()] - before[workload.GetName()]; got != 1 {
			t.Errorf("%s was rolled %d times by one rotation", workload.GetName(), got)
		}
	}

	e.waitForManagers(t, e.killManagers(t))
	coffer(t, "another secret", "put", e.path("other"), "--allow-service", e.namespace+"/api", "--allow-environment", "production")
	e.vaultSecret(t, e.namespace, "other", e.path("other"))
	e.waitForValue(t, "other", "another secret") // the new operator is at work
	if again := e.templateHashes(t); again["web"] != after["web"] || again["agent"] != after["agent"] || again["store"] != after["store"] {
		t.Errorf("a restart of the operator rolled workloads: %v, then %v", after, again)
	}
}

func (e *environment) template(name string, container corev1.Container, volumes ...corev1.Volume) corev1.PodTemplateSpec {
	container.Name, container.Image, container.ImagePullPolicy = "app", sampleImage, corev1.PullNever
	container.Env = append(container.Env, corev1.EnvVar{Name: "FINGERPRINT_KEY", Value: fingerprintKey})
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "api", Containers: []corev1.Container{container}, Volumes: volumes,
			TerminationGracePeriodSeconds: new(int64(1)),
		},
	}
}

func (e *environment) meta(name string) (metav1.ObjectMeta, *metav1.LabelSelector) {
	return metav1.ObjectMeta{Namespace: e.namespace, Name: name}, &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func mounted() corev1.Container {
	return corev1.Container{
		Env:          []corev1.EnvVar{{Name: "SECRET_FILE", Value: "/secret/value"}},
		VolumeMounts: []corev1.VolumeMount{{Name: "secret", MountPath: "/secret", ReadOnly: true}},
	}
}

func (e *environment) deployment() *appsv1.Deployment {
	meta, selector := e.meta("web")
	volume := corev1.Volume{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "database"}}}
	return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(2)), Selector: selector, Template: e.template("web", mounted(), volume),
	}}
}

func (e *environment) daemonSet() *appsv1.DaemonSet {
	meta, selector := e.meta("agent")
	variable := corev1.EnvVar{Name: "SECRET_VALUE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: corev1.LocalObjectReference{Name: "database"}, Key: "value",
	}}}
	return &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{
		Selector: selector, Template: e.template("agent", corev1.Container{Env: []corev1.EnvVar{variable}}),
	}}
}

func (e *environment) statefulSet() *appsv1.StatefulSet {
	meta, selector := e.meta("store")
	volume := corev1.Volume{Name: "secret", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "database"},
		}}},
	}}}
	return &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(1)), Selector: selector, ServiceName: "store", Template: e.template("store", mounted(), volume),
	}}
}

// waitForFingerprint waits until every pod of the workload that is not being
// deleted printed the fingerprint of value when it started.
func (e *environment) waitForFingerprint(t *testing.T, workload, value string) {
	t.Helper()
	want := "fingerprint " + fingerprint.Of(fingerprintKey, []byte(value))
	eventually(t, "the pods of "+workload+" to have the value", func(ctx context.Context) (bool, error) {
		var pods corev1.PodList
		if err := e.client.List(ctx, &pods, client.InNamespace(e.namespace), client.MatchingLabels{"app": workload}); err != nil {
			return false, err
		}
		seen := 0
		for _, pod := range pods.Items {
			if !pod.DeletionTimestamp.IsZero() {
				continue
			}
			logs, err := e.clientset.CoreV1().Pods(e.namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
			if err != nil || !strings.Contains(string(logs), want) {
				return false, nil //nolint:nilerr // its container has not started yet
			}
			seen++
		}
		return seen > 0, nil
	})
}

// waitForRolledOut waits until so many workloads have that version of the VaultSecret.
func (e *environment) waitForRolledOut(t *testing.T, vs *vaultv1alpha1.VaultSecret, version int64, workloads int) {
	t.Helper()
	eventually(t, "RolledOut and Ready to be true", func(ctx context.Context) (bool, error) {
		if err := e.client.Get(ctx, client.ObjectKeyFromObject(vs), vs); err != nil {
			return false, err
		}
		isTrue := 0
		for _, condition := range vs.Status.Conditions {
			if condition.Status == metav1.ConditionTrue {
				isTrue++
			}
		}
		return isTrue == 3 && len(vs.Status.Workloads) == workloads && vs.Status.Version == version, nil
	})
}

// templateHashes counts the pod templates that each workload has had.
func (e *environment) templateHashes(t *testing.T) map[string]int {
	t.Helper()
	var replicaSets appsv1.ReplicaSetList
	must(t, e.client.List(t.Context(), &replicaSets, client.InNamespace(e.namespace)))
	var revisions appsv1.ControllerRevisionList
	must(t, e.client.List(t.Context(), &revisions, client.InNamespace(e.namespace)))
	count := map[string]int{}
	for _, replicaSet := range replicaSets.Items {
		count[replicaSet.Labels["app"]]++
	}
	for _, revision := range revisions.Items {
		count[revision.Labels["app"]]++
	}
	return count
}
