package manifests

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/sdk"
)

// Namespaces of these tests: one whose pods may ask, one whose may not, and one for an
// installation elsewhere.
const (
	injecting    = "injecting"
	notInjecting = "not-injecting"
	elsewhere    = "elsewhere"
)

// injectedVolume is what a pod gets.
func injectedVolume(audience string) corev1.Volume {
	return corev1.Volume{Name: "coffer", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: new(int32(0o644)),
		Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "coffer-ca"}}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: new(int64(3600)), Path: "token"}},
		},
	}}}
}

var injectedMount = corev1.VolumeMount{Name: "coffer", MountPath: "/var/run/secrets/coffer.dev", ReadOnly: true}

// TestPodsThatAskAreInjected creates pods, which the API server answers with as they would be.
func TestPodsThatAskAreInjected(t *testing.T) {
	client := injectionCluster(t)
	data := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	dataMount := corev1.VolumeMount{Name: "data", MountPath: "/data"}
	own := corev1.Volume{Name: "coffer", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	there := corev1.VolumeMount{Name: "data", MountPath: injectedMount.MountPath}
	always := corev1.ContainerRestartPolicyAlways
	type mounts = map[string][]corev1.VolumeMount
	for name, test := range map[string]struct {
		namespace string // injecting when empty
		label     string // "true" when empty
		change    func(*corev1.PodSpec)
		volumes   []corev1.Volume
		mounts    mounts
	}{
		"one container": {
			volumes: []corev1.Volume{injectedVolume("coffer")}, mounts: mounts{"main": {injectedMount}},
		},
		"several with volumes, and init containers": {
			change: func(spec *corev1.PodSpec) {
				spec.Volumes = []corev1.Volume{data}
				spec.Containers[0].VolumeMounts = []corev1.VolumeMount{dataMount}
				spec.Containers = append(spec.Containers, corev1.Container{Name: "second", Image: "none"})
				spec.InitContainers = []corev1.Container{
					{Name: "init", Image: "none"}, {Name: "sidecar", Image: "none", RestartPolicy: &always, VolumeMounts: []corev1.VolumeMount{dataMount}},
				}
			},
			volumes: []corev1.Volume{data, injectedVolume("coffer")},
			mounts:  mounts{"main": {dataMount, injectedMount}, "second": {injectedMount}, "init": {injectedMount}, "sidecar": {dataMount, injectedMount}},
		},
		"something is mounted there": {
			change: func(spec *corev1.PodSpec) {
				spec.Volumes = []corev1.Volume{data}
				spec.Containers[0].VolumeMounts = []corev1.VolumeMount{there}
				spec.Containers = append(spec.Containers, corev1.Container{Name: "second", Image: "none"})
			},
			volumes: []corev1.Volume{data, injectedVolume("coffer")},
			mounts:  mounts{"main": {there}, "second": {injectedMount}},
		},
		"a volume of its own": {
			change:  func(spec *corev1.PodSpec) { spec.Volumes = []corev1.Volume{own} },
			volumes: []corev1.Volume{own}, mounts: mounts{"main": nil},
		},
		"injected already": {
			change: func(spec *corev1.PodSpec) {
				spec.Volumes = []corev1.Volume{injectedVolume("coffer")}
				spec.Containers[0].VolumeMounts = []corev1.VolumeMount{injectedMount}
			},
			volumes: []corev1.Volume{injectedVolume("coffer")}, mounts: mounts{"main": {injectedMount}},
		},
		"another value of the label":           {label: "enabled", mounts: mounts{"main": nil}},
		"a namespace without the label":        {namespace: notInjecting, mounts: mounts{"main": nil}},
		"a pod and a namespace without labels": {namespace: notInjecting, label: "-", mounts: mounts{"main": nil}},
		"a pod without the label":              {label: "-", mounts: mounts{"main": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := askingPod()
			switch test.label {
			case "":
			case "-":
				pod.Labels = nil
			default:
				pod.Labels[vaultv1alpha1.InjectLabel] = test.label
			}
			if test.change != nil {
				test.change(&pod.Spec)
			}
			namespace := injecting
			if test.namespace != "" {
				namespace = test.namespace
			}
			got := dryRun(t, client, namespace, pod)
			if diff := cmp.Diff(test.volumes, got.Spec.Volumes); diff != "" {
				t.Errorf("volumes (-want +got):\n%s", diff)
			}
			mounted := mounts{}
			for _, container := range append(got.Spec.InitContainers, got.Spec.Containers...) {
				mounted[container.Name] = container.VolumeMounts
				if len(container.Env) > 0 {
					t.Errorf("%s has the environment %v", container.Name, container.Env)
				}
			}
			if diff := cmp.Diff(test.mounts, mounted); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInjectionIsWhereTheSDKLooks: the SDK finds what a pod is given.
func TestInjectionIsWhereTheSDKLooks(t *testing.T) {
	if sdk.DefaultTokenFile != injectedMount.MountPath+"/token" || sdk.DefaultCACert != injectedMount.MountPath+"/ca.crt" {
		t.Errorf("the SDK looks at %s and %s", sdk.DefaultTokenFile, sdk.DefaultCACert)
	}
}

// TestInjectionOfAnotherAddress tries what the chart makes of the policy for a release in
// another namespace, with another audience.
func TestInjectionOfAnotherAddress(t *testing.T) {
	client := injectionCluster(t)
	policy, binding := &admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{}
	for file, into := range map[string]any{"policy": policy, "binding": binding} {
		text, err := os.ReadFile(root + "/config/injection/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(text, into); err != nil {
			t.Fatal(err)
		}
	}
	policy.Name, binding.Name, binding.Spec.PolicyName = elsewhere, elsewhere, elsewhere
	policy.Spec.MatchConstraints.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: elsewhere}}
	policy.Spec.Variables[0].Expression, policy.Spec.Variables[1].Expression = `"vault"`, `"https://vault.elsewhere.svc"`
	made(t)(client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: elsewhere}}, metav1.CreateOptions{}))
	made(t)(client.AdmissionregistrationV1().MutatingAdmissionPolicies().Create(t.Context(), policy, metav1.CreateOptions{}))
	made(t)(client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Create(t.Context(), binding, metav1.CreateOptions{}))
	eventually(t, func() error { return injects(t, client, elsewhere) })

	pod := askingPod()
	other := corev1.EnvVar{Name: "OTHER", Value: "x"}
	mine := corev1.EnvVar{Name: "COFFER_ADDR", Value: "https://mine"}
	given := corev1.EnvVar{Name: "COFFER_ADDR", Value: "https://vault.elsewhere.svc"}
	pod.Spec.Containers = append(pod.Spec.Containers,
		corev1.Container{Name: "other", Image: "none", Env: []corev1.EnvVar{other}}, corev1.Container{Name: "mine", Image: "none", Env: []corev1.EnvVar{mine}})
	pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "none"}}
	got := dryRun(t, client, elsewhere, pod)
	environment := map[string][]corev1.EnvVar{}
	for _, container := range append(got.Spec.InitContainers, got.Spec.Containers...) {
		environment[container.Name] = container.Env
	}
	want := map[string][]corev1.EnvVar{"init": {given}, "main": {given}, "other": {other, given}, "mine": {mine}}
	if diff := cmp.Diff(want, environment); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]corev1.Volume{injectedVolume("vault")}, got.Spec.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
}

// injectionCluster has the policy in force, and the namespaces of these tests.
func injectionCluster(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(cluster(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, labels := range map[string]map[string]string{
		injecting: {vaultv1alpha1.InjectionLabel: vaultv1alpha1.InjectionEnabled}, notInjecting: {vaultv1alpha1.InjectionLabel: "true"},
	} {
		made(t)(client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}))
	}
	// The API server learns of the policy through a watch.
	eventually(t, func() error { return injects(t, client, injecting) })
	return client
}

// injects fails until a pod that asks has a volume more.
func injects(t *testing.T, client kubernetes.Interface, namespace string) error {
	t.Helper()
	if len(dryRun(t, client, namespace, askingPod()).Spec.Volumes) == 0 {
		return errors.New("the policy is not in force")
	}
	return nil
}

func askingPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "asking", Labels: map[string]string{vaultv1alpha1.InjectLabel: "true"}},
		// The plugin that names the account before is not on, since there is no controller that makes it.
		Spec: corev1.PodSpec{ServiceAccountName: "default", Containers: []corev1.Container{{Name: "main", Image: "none"}}},
	}
}

// dryRun is pod as the API server would store it.
func dryRun(t *testing.T, client kubernetes.Interface, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	got, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	return got
}
