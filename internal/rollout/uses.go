package rollout

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// SecretsOf returns the sorted names of the Secrets whose content pod takes in,
// by env, envFrom, Secret volumes or projected volumes, in containers, init
// containers and ephemeral containers, or to pull its images. Those of its service
// account's imagePullSecrets are not in a pod template, and so not among them.
func SecretsOf(pod *corev1.PodSpec) []string {
	var names []string
	add := func(name string) {
		if name != "" {
			names = append(names, name)
		}
	}
	for i := range pod.Volumes {
		secretsOfVolume(&pod.Volumes[i], add)
	}
	for i := range pod.InitContainers {
		secretsOfContainer(pod.InitContainers[i].Env, pod.InitContainers[i].EnvFrom, add)
	}
	for i := range pod.Containers {
		secretsOfContainer(pod.Containers[i].Env, pod.Containers[i].EnvFrom, add)
	}
	for i := range pod.EphemeralContainers {
		secretsOfContainer(pod.EphemeralContainers[i].Env, pod.EphemeralContainers[i].EnvFrom, add)
	}
	for _, pull := range pod.ImagePullSecrets {
		add(pull.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func secretsOfVolume(volume *corev1.Volume, add func(string)) {
	if volume.Secret != nil {
		add(volume.Secret.SecretName)
	}
	if volume.Projected == nil {
		return
	}
	for _, source := range volume.Projected.Sources {
		if source.Secret != nil {
			add(source.Secret.Name)
		}
	}
}

func secretsOfContainer(env []corev1.EnvVar, envFrom []corev1.EnvFromSource, add func(string)) {
	for _, variable := range env {
		if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
			add(variable.ValueFrom.SecretKeyRef.Name)
		}
	}
	for _, source := range envFrom {
		if source.SecretRef != nil {
			add(source.SecretRef.Name)
		}
	}
}
