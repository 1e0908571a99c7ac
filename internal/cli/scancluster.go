package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// clusterScan is one scan of a cluster.
type clusterScan struct {
	scanner *credscan.Scanner
	kube    cluster
	// namespace is empty for all.
	namespace string
	// at is told how many objects were looked at, and how many there are as far as is known.
	at     func(done, total int64)
	seen   int64
	owners []podOwner
	// left says what could not be looked at, and why.
	left []string
}

// run looks at ConfigMaps and at the pod specs of workloads. What another object makes is found in that.
func (c *clusterScan) run(ctx context.Context, flags *scanFlags) (found []credential, err error) {
	if c.kube, err = flags.kube.connect(); err != nil {
		return nil, err
	}
	c.namespace = flags.namespace
	switch {
	case flags.all:
		c.namespace = ""
	case c.namespace == "":
		c.namespace = c.kube.namespace
	}
	err = eachPage(ctx, c, "ConfigMaps", &corev1.ConfigMapList{}, func(list *corev1.ConfigMapList) {
		for i := range list.Items {
			found = append(found, scanConfigMap(ctx, c.scanner, &list.Items[i])...)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := c.podOwners(ctx); err != nil {
		return nil, err
	}
	for _, owner := range c.owners {
		found = append(found, scanPodSpec(ctx, c.scanner, owner)...)
	}
	return found, nil
}

// eachPage reads all objects of a kind, page after page, into list.
func eachPage[L client.ObjectList](ctx context.Context, c *clusterScan, what string, list L, take func(L)) error {
	for {
		token := list.GetContinue()
		if err := c.kube.List(ctx, list, client.InNamespace(c.namespace), client.Limit(clusterPage), client.Continue(token)); err != nil {
			return clusterError("list "+what, err)
		}
		take(list)
		c.seen += int64(meta.LenList(list))
		remaining := int64(0)
		if n := list.GetRemainingItemCount(); n != nil {
			remaining = *n
		}
		c.at(c.seen, c.seen+remaining)
		if list.GetContinue() == "" {
			return nil
		}
	}
}

// add notes what makes pods, unless another object makes it.
func (c *clusterScan) add(kind string, object metav1.Object, spec *corev1.PodSpec) {
	if metav1.GetControllerOf(object) == nil {
		c.owners = append(c.owners, podOwner{kind, object.GetNamespace(), object.GetName(), spec})
	}
}

// addPod notes a pod that nothing makes, and of others what was put into them later.
func (c *clusterScan) addPod(pod *corev1.Pod) {
	spec := &pod.Spec
	if metav1.GetControllerOf(pod) != nil {
		if len(spec.EphemeralContainers) == 0 {
			return
		}
		spec = &corev1.PodSpec{EphemeralContainers: spec.EphemeralContainers}
	}
	c.owners = append(c.owners, podOwner{"Pod", pod.Namespace, pod.Name, spec})
}

// pages is eachPage for later.
func pages[L client.ObjectList](ctx context.Context, c *clusterScan, what string, list L, take func(L)) func() error {
	return func() error { return eachPage(ctx, c, what, list, take) }
}

func (c *clusterScan) podOwners(ctx context.Context) error {
	steps := []func() error{
		pages(ctx, c, "Deployments", &appsv1.DeploymentList{}, func(list *appsv1.DeploymentList) {
			for i := range list.Items {
				c.add("Deployment", &list.Items[i], &list.Items[i].Spec.Template.Spec)
			}
		}),
		pages(ctx, c, "StatefulSets", &appsv1.StatefulSetList{}, func(list *appsv1.StatefulSetList) {
			for i := range list.Items {
				c.add("StatefulSet", &list.Items[i], &list.Items[i].Spec.Template.Spec)
			}
		}),
		pages(ctx, c, "DaemonSets", &appsv1.DaemonSetList{}, func(list *appsv1.DaemonSetList) {
			for i := range list.Items {
				c.add("DaemonSet", &list.Items[i], &list.Items[i].Spec.Template.Spec)
			}
		}),
		pages(ctx, c, "ReplicaSets", &appsv1.ReplicaSetList{}, func(list *appsv1.ReplicaSetList) {
			for i := range list.Items {
				c.add("ReplicaSet", &list.Items[i], &list.Items[i].Spec.Template.Spec)
			}
		}),
		pages(ctx, c, "CronJobs", &batchv1.CronJobList{}, func(list *batchv1.CronJobList) {
			for i := range list.Items {
				c.add("CronJob", &list.Items[i], &list.Items[i].Spec.JobTemplate.Spec.Template.Spec)
			}
		}),
		pages(ctx, c, "Jobs", &batchv1.JobList{}, func(list *batchv1.JobList) {
			for i := range list.Items {
				c.add("Job", &list.Items[i], &list.Items[i].Spec.Template.Spec)
			}
		}),
		pages(ctx, c, "Pods", &corev1.PodList{}, func(list *corev1.PodList) {
			for i := range list.Items {
				c.addPod(&list.Items[i])
			}
		}),
		func() error { return c.rollouts(ctx) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// argoRollouts are the Rollouts of Argo, which a cluster may have.
var argoRollouts = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "RolloutList"}

// rollouts looks at Argo Rollouts where the cluster knows them. One that names a Deployment has no pod spec of its own. Who may
// not list them is told, and sees the rest.
func (c *clusterScan) rollouts(ctx context.Context) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(argoRollouts)
	err := eachPage(ctx, c, "Argo Rollouts", list, func(list *unstructured.UnstructuredList) {
		for i := range list.Items {
			content, found, err := unstructured.NestedMap(list.Items[i].Object, "spec", "template", "spec")
			if err != nil || !found {
				continue
			}
			var spec corev1.PodSpec
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &spec); err != nil {
				c.left = append(c.left, fmt.Sprintf("Rollout %s/%s: its pod spec is none", list.Items[i].GetNamespace(), list.Items[i].GetName()))
				continue
			}
			c.add("Rollout", &list.Items[i], &spec)
		}
	})
	if _, refused := errors.AsType[*missingError](err); refused {
		c.left = append(c.left, err.Error())
		return nil
	}
	if meta.IsNoMatchError(err) {
		return nil
	}
	return err
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
	for _, e := range owner.spec.EphemeralContainers {
		containers = append(containers, corev1.Container(e.EphemeralContainerCommon))
	}
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
