package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

func secretKey(name string) []corev1.EnvVar {
	return []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: "k"},
	}}}
}

func secretEnv(name string) []corev1.EnvFromSource {
	return []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}}
}

func TestSecretsOf(t *testing.T) {
	tests := map[string]struct {
		pod  corev1.PodSpec
		want []string
	}{
		"none": {corev1.PodSpec{
			Containers: []corev1.Container{{Env: []corev1.EnvVar{{Name: "A", Value: "b"}}, EnvFrom: []corev1.EnvFromSource{
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "config"}}}}}},
			Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}}},
		}, nil},
		"image pull":     {corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "s"}, {}}}, []string{"s"}},
		"env":            {corev1.PodSpec{Containers: []corev1.Container{{}, {Env: secretKey("s")}}}, []string{"s"}},
		"envFrom":        {corev1.PodSpec{Containers: []corev1.Container{{EnvFrom: secretEnv("s")}}}, []string{"s"}},
		"init env":       {corev1.PodSpec{InitContainers: []corev1.Container{{Env: secretKey("s")}}}, []string{"s"}},
		"init envFrom":   {corev1.PodSpec{InitContainers: []corev1.Container{{EnvFrom: secretEnv("s")}}}, []string{"s"}},
		"ephemeral env":  {corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Env: secretKey("s")}}}}, []string{"s"}},
		"ephemeral from": {corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{EnvFrom: secretEnv("s")}}}}, []string{"s"}},
		"volume":         {corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}}}}, []string{"s"}},
		"projected": {corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}},
			}}}}}}, []string{"s"}},
		"several, sorted, once": {corev1.PodSpec{Containers: []corev1.Container{{Env: secretKey("b"), EnvFrom: secretEnv("a")}, {EnvFrom: secretEnv("b")}}}, []string{"a", "b"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, SecretsOf(&test.pod)); diff != "" {
				t.Errorf("Secrets (-want +got):\n%s", diff)
			}
			// What the cache keeps tells the same.
			d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: test.pod}}}
			stripped, err := Strip(d.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, SecretsOf(&stripped.(*appsv1.Deployment).Spec.Template.Spec)); diff != "" {
				t.Errorf("Secrets after Strip (-want +got):\n%s", diff)
			}
		})
	}
}

// An annotation key of any Secret name is one that Kubernetes takes, and differs
// from that of another name.
func TestStampAnnotation(t *testing.T) {
	names := rapid.StringMatching(`[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		if problems := validation.IsQualifiedName(StampAnnotation(a)); len(problems) > 0 {
			t.Fatalf("%q: %v", StampAnnotation(a), problems)
		}
		if a != b && StampAnnotation(a) == StampAnnotation(b) {
			t.Fatalf("%q and %q share a key", a, b)
		}
	})
	long := strings.Repeat("x", 100)
	if a, b := StampAnnotation(long+"a"), StampAnnotation(long+"b"); a == b {
		t.Errorf("two long names share the key %s", a)
	}
	if got, want := StampAnnotation("payments-db"), "checksum.vault.coffer.dev/payments-db"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNeedsStamp(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 24, 12, minute, 0, 0, time.UTC) }
	workload := func(stamp string, created time.Time) Workload {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(created)}}
		if stamp != "" {
			d.Spec.Template.Annotations = map[string]string{StampAnnotation("s"): stamp}
		}
		w, _ := FromObject(d)
		return w
	}
	first := Content{Secret: "s", Checksum: "new"}
	fresh := Content{Secret: "s", Checksum: "new", ChangedAt: at(30), Fresh: true}
	settled := Content{Secret: "s", Checksum: "new", ChangedAt: at(30)}
	tests := map[string]struct {
		workload Workload
		content  Content
		owed     bool
		want     bool
	}{
		"first content, no stamp":        {workload("", at(0)), first, false, false},
		"first content, present stamp":   {workload("new", at(0)), first, false, false},
		"first content, other stamp":     {workload("old", at(0)), first, false, true},
		"changed, no stamp, older":       {workload("", at(29)), fresh, false, true},
		"changed, no stamp, same second": {workload("", at(30)), fresh, false, true},
		"changed, no stamp, younger":     {workload("", at(31)), fresh, false, false},
		"changed, present stamp":         {workload("new", at(0)), fresh, false, false},
		"changed, other stamp, younger":  {workload("old", at(31)), fresh, false, true},
		"settled, no stamp, older":       {workload("", at(29)), settled, false, false},
		"settled, no stamp, owed":        {workload("", at(29)), settled, true, true},
		"settled, no stamp, owed, young": {workload("", at(31)), settled, true, false},
		"settled, present stamp":         {workload("new", at(0)), settled, true, false},
		"settled, other stamp":           {workload("old", at(0)), settled, false, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := test.workload.NeedsStamp(test.content, test.owed); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestState(t *testing.T) {
	progress := func(reason string) []appsv1.DeploymentCondition {
		return []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: reason}}
	}
	deployment := func(f func(*appsv1.Deployment)) *appsv1.Deployment {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "d", Generation: 2}}
		d.Spec.Replicas = ptr.To[int32](3)
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}
		f(d)
		return d
	}
	statefulSet := func(f func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
		s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		s.Spec.Replicas = ptr.To[int32](3)
		s.Status = appsv1.StatefulSetStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}
		f(s)
		return s
	}
	daemonSet := func(f func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
		d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Generation: 2}}
		d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3}
		f(d)
		return d
	}
	check := func(name string, w Workload, want vaultv1alpha1.WorkloadState, says string) {
		t.Run(name, func(t *testing.T) {
			state, message := w.State()
			if state != want || !strings.Contains(message, says) || (says == "") != (message == "") {
				t.Errorf("got %s (%q), want %s that says %q", state, message, want, says)
			}
		})
	}
	d := func(f func(*appsv1.Deployment)) Workload { w, _ := FromObject(deployment(f)); return w }
	s := func(f func(*appsv1.StatefulSet)) Workload { w, _ := FromObject(statefulSet(f)); return w }
	n := func(f func(*appsv1.DaemonSet)) Workload { w, _ := FromObject(daemonSet(f)); return w }
	const (
		current, rolling = vaultv1alpha1.WorkloadCurrent, vaultv1alpha1.WorkloadRollingOut
		failed, paused   = vaultv1alpha1.WorkloadFailed, vaultv1alpha1.WorkloadPaused
	)
	check("deployment complete", d(func(*appsv1.Deployment) {}), current, "")
	check("deployment not observed", d(func(d *appsv1.Deployment) { d.Generation = 3 }), rolling, "")
	check("deployment updating", d(func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }), rolling, "")
	check("deployment with old pods", d(func(d *appsv1.Deployment) { d.Status.Replicas = 4 }), rolling, "")
	check("deployment not available", d(func(d *appsv1.Deployment) {
		d.Status.AvailableReplicas, d.Status.Conditions = 2, progress("ReplicaSetUpdated")
	}), rolling, "")
	check("deployment unhealthy later", d(func(d *appsv1.Deployment) {
		d.Status.AvailableReplicas, d.Status.Conditions = 2, progress("NewReplicaSetAvailable")
	}), current, "")
	check("deployment failed", d(func(d *appsv1.Deployment) {
		d.Status.UpdatedReplicas, d.Status.Conditions = 1, progress("ProgressDeadlineExceeded")
	}), failed, "kubectl rollout status -n n deployment/d")
	check("deployment paused", d(func(d *appsv1.Deployment) { d.Spec.Paused, d.Status.UpdatedReplicas = true, 0 }), paused, "kubectl rollout resume -n n deployment/d")
	check("deployment paused and complete", d(func(d *appsv1.Deployment) { d.Spec.Paused = true }), current, "")
	check("deployment of none", d(func(d *appsv1.Deployment) {
		d.Spec.Replicas, d.Status = ptr.To[int32](0), appsv1.DeploymentStatus{ObservedGeneration: 2}
	}), current, "")
	check("deployment of the default one", d(func(d *appsv1.Deployment) {
		d.Spec.Replicas, d.Status = nil, appsv1.DeploymentStatus{ObservedGeneration: 2}
	}), rolling, "")
	check("stateful set complete", s(func(*appsv1.StatefulSet) {}), current, "")
	check("stateful set not observed", s(func(s *appsv1.StatefulSet) { s.Generation = 3 }), rolling, "")
	check("stateful set updating", s(func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 1 }), rolling, "")
	check("stateful set not available", s(func(s *appsv1.StatefulSet) { s.Status.AvailableReplicas = 2 }), rolling, "")
	check("stateful set on delete", s(func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.Type, s.Status.UpdatedReplicas = appsv1.OnDeleteStatefulSetStrategyType, 1
	}), paused, "OnDelete")
	partition := &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](2)}
	check("stateful set before its partition", s(func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate, s.Status.UpdatedReplicas = partition, 0
	}), rolling, "")
	check("stateful set at its partition", s(func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate, s.Status.UpdatedReplicas = partition, 1
	}), paused, "holds back 2 pods")
	check("daemon set complete", n(func(*appsv1.DaemonSet) {}), current, "")
	check("daemon set not observed", n(func(d *appsv1.DaemonSet) { d.Generation = 3 }), rolling, "")
	check("daemon set updating", n(func(d *appsv1.DaemonSet) { d.Status.UpdatedNumberScheduled = 1 }), rolling, "")
	check("daemon set not available", n(func(d *appsv1.DaemonSet) { d.Status.NumberAvailable = 1 }), rolling, "")
	check("daemon set on delete", n(func(d *appsv1.DaemonSet) {
		d.Spec.UpdateStrategy.Type, d.Status.UpdatedNumberScheduled = appsv1.OnDeleteDaemonSetStrategyType, 1
	}), paused, "OnDelete")
	argo := func(observed, phase string) Workload {
		u := newArgoRollout()
		u.SetGeneration(2)
		u.SetNamespace("n")
		u.SetName("r")
		u.Object["status"] = map[string]any{"observedGeneration": observed, "phase": phase}
		return Workload{KindArgoRollout, u, &corev1.PodTemplateSpec{}}
	}
	check("argo rollout complete", argo("2", "Healthy"), current, "")
	check("argo rollout not observed", argo("1", "Healthy"), rolling, "")
	check("argo rollout updating", argo("2", "Progressing"), rolling, "")
	check("argo rollout failed", argo("2", "Degraded"), failed, "kubectl argo rollouts get rollout -n n r")
	check("argo rollout at a step", argo("2", "Paused"), paused, "kubectl argo rollouts promote -n n r")
	check("daemon set without nodes", n(func(d *appsv1.DaemonSet) { d.Status = appsv1.DaemonSetStatus{ObservedGeneration: 2} }), current, "")
}
