package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/coffer-vault/coffer/internal/cli/access"
	"github.com/coffer-vault/coffer/internal/cli/credscan"
	"github.com/coffer-vault/coffer/internal/cli/source"
)

// clusterPage is how many objects are read at a time.
const clusterPage = 500

// podOwner is a pod, or what makes pods, and its pod spec.
type podOwner struct {
	kind, namespace, name string
	spec                  *corev1.PodSpec
}

// scanCluster looks at ConfigMaps and at the pod specs of workloads. Pods and Jobs that
// another object makes are found in that.
func scanCluster(ctx context.Context, scanner *credscan.Scanner, flags *scanFlags) ([]credential, error) {
	kube, err := flags.kube.connect()
	if err != nil {
		return nil, err
	}
	namespace := flags.namespace
	switch {
	case flags.all:
		namespace = ""
	case namespace == "":
		namespace = kube.namespace
	}
	var found []credential
	err = eachPage(ctx, kube, namespace, "ConfigMaps", &corev1.ConfigMapList{}, func(list *corev1.ConfigMapList) {
		for i := range list.Items {
			found = append(found, scanConfigMap(ctx, scanner, &list.Items[i])...)
		}
	})
	if err != nil {
		return nil, err
	}
	owners, err := podOwners(ctx, kube, namespace)
	if err != nil {
		return nil, err
	}
	for _, owner := range owners {
		found = append(found, scanPodSpec(ctx, scanner, owner)...)
	}
	return found, nil
}

// eachPage reads all objects of a kind, page after page, into list.
func eachPage[L client.ObjectList](ctx context.Context, kube client.Client, namespace, what string, list L, take func(L)) error {
	for {
		token := list.GetContinue()
		if err := kube.List(ctx, list, client.InNamespace(namespace), client.Limit(clusterPage), client.Continue(token)); err != nil {
			return clusterError("list "+what, err)
		}
		take(list)
		if list.GetContinue() == "" {
			return nil
		}
	}
}

func podOwners(ctx context.Context, kube client.Client, namespace string) ([]podOwner, error) {
	var owners []podOwner
	add := func(kind string, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
		if metav1.GetControllerOf(meta) == nil {
			owners = append(owners, podOwner{kind, meta.Namespace, meta.Name, spec})
		}
	}
	steps := []func() error{
		func() error {
			return eachPage(ctx, kube, namespace, "Deployments", &appsv1.DeploymentList{}, func(list *appsv1.DeploymentList) {
				for i := range list.Items {
					add("Deployment", &list.Items[i].ObjectMeta, &list.Items[i].Spec.Template.Spec)
				}
			})
		},
		func() error {
			return eachPage(ctx, kube, namespace, "StatefulSets", &appsv1.StatefulSetList{}, func(list *appsv1.StatefulSetList) {
				for i := range list.Items {
					add("StatefulSet", &list.Items[i].ObjectMeta, &list.Items[i].Spec.Template.Spec)
				}
			})
		},
		func() error {
			return eachPage(ctx, kube, namespace, "DaemonSets", &appsv1.DaemonSetList{}, func(list *appsv1.DaemonSetList) {
				for i := range list.Items {
					add("DaemonSet", &list.Items[i].ObjectMeta, &list.Items[i].Spec.Template.Spec)
				}
			})
		},
		func() error {
			return eachPage(ctx, kube, namespace, "CronJobs", &batchv1.CronJobList{}, func(list *batchv1.CronJobList) {
				for i := range list.Items {
					add("CronJob", &list.Items[i].ObjectMeta, &list.Items[i].Spec.JobTemplate.Spec.Template.Spec)
				}
			})
		},
		func() error {
			return eachPage(ctx, kube, namespace, "Jobs", &batchv1.JobList{}, func(list *batchv1.JobList) {
				for i := range list.Items {
					add("Job", &list.Items[i].ObjectMeta, &list.Items[i].Spec.Template.Spec)
				}
			})
		},
		func() error {
			return eachPage(ctx, kube, namespace, "Pods", &corev1.PodList{}, func(list *corev1.PodList) {
				for i := range list.Items {
					add("Pod", &list.Items[i].ObjectMeta, &list.Items[i].Spec)
				}
			})
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return owners, nil
}

func scanConfigMap(ctx context.Context, scanner *credscan.Scanner, configMap *corev1.ConfigMap) []credential {
	one, err := source.FromConfigMap(configMap)
	if err != nil {
		return nil
	}
	var found []credential
	var keys []string
	for _, e := range one.Entries {
		for _, f := range scanNamed(ctx, scanner, e.Key, string(e.Value)) {
			c := credentialIn(f)
			c.File, c.Kind, c.Namespace, c.Name, c.Key = "", string(one.Kind), one.Namespace, one.Name, e.Key
			c.Place = one.String() + " key " + e.Key
			if strings.Contains(string(e.Value), "\n") {
				c.Place += fmt.Sprintf(":%d", f.Line)
			} else {
				c.Line = 0
			}
			found = append(found, c)
			keys = append(keys, e.Key)
		}
	}
	command := fmt.Sprintf("coffer import --from-configmap %s/%s --keys %s --to PATH", one.Namespace, one.Name, access.ShellWord(strings.Join(slices.Compact(keys), ",")))
	for i := range found {
		found[i].Import = command
	}
	return found
}

// scanNamed looks at a value under its name. One line is looked at as a line of settings, and
// more as the file that they are.
func scanNamed(ctx context.Context, scanner *credscan.Scanner, name, value string) []credscan.Finding {
	if strings.Contains(value, "\n") {
		return scanner.Text(ctx, name, value)
	}
	return scanner.Text(ctx, "settings.env", name+"="+value)
}

func scanPodSpec(ctx context.Context, scanner *credscan.Scanner, owner podOwner) []credential {
	var found []credential
	place := fmt.Sprintf("%s %s/%s", owner.kind, owner.namespace, owner.name)
	add := func(container, what string, findings []credscan.Finding) {
		for _, f := range findings {
			c := credentialIn(f)
			c.File, c.Line = "", 0
			c.Kind, c.Namespace, c.Name, c.Key = owner.kind, owner.namespace, owner.name, what
			c.Place = place + " container " + container + " " + what
			found = append(found, c)
		}
	}
	containers := append(slices.Clone(owner.spec.InitContainers), owner.spec.Containers...)
	for _, c := range containers {
		for _, e := range c.Env {
			if e.Value != "" {
				add(c.Name, "env "+e.Name, scanNamed(ctx, scanner, e.Name, e.Value))
			}
		}
		words := append(slices.Clone(c.Command), c.Args...)
		add(c.Name, "command", scanner.Text(ctx, "command.env", strings.Join(words, "\n")))
	}
	return found
}
