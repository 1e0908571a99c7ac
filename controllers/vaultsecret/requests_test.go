package vaultsecret_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/testkit/kubeproxy"
)

// tally counts requests, as verb and resource.
func tally(requests []kubeproxy.Request) map[string]int {
	counts := map[string]int{}
	for _, r := range requests {
		counts[r.Verb+" "+r.Resource]++
	}
	return counts
}

// What the operator asks the API server for, once its caches are filled, is what it
// writes, and the pods of workloads that roll: it lists and gets nothing else for a first
// sync, a rotation or a resync.
func TestRequests(t *testing.T) {
	t.Parallel()
	const objects, workloads = 30, 6
	w := newWorld(t)
	proxy := kubeproxy.Start(t, w.config)
	op := w.startOperatorThrough(proxy.Config(), vaultsecret.Options{Cluster: w.namespace}, true)
	awaits(op.synced)
	w.put(database, "one")
	var deployments []*appsv1.Deployment
	for i := range workloads {
		d := w.deployment(fmt.Sprintf("api-%d", i), envFrom(fmt.Sprintf("payments-%d", i)))
		w.rolledOut(d)
		deployments = append(deployments, d)
	}
	// The first has been through everything that is asked once, such as which kinds there are.
	w.ready(w.ofPath("first", database))

	seen := len(proxy.Requests())
	asked := func(phase string, want map[string]int) {
		t.Helper()
		requests := proxy.Requests()
		if diff := cmp.Diff(want, tally(requests[seen:])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", phase, diff)
		}
		seen = len(requests)
	}
	var all []*vaultv1alpha1.VaultSecret
	for i := range objects {
		all = append(all, w.vaultSecret(fmt.Sprintf("payments-%d", i), func(s *vaultv1alpha1.VaultSecretSpec) {
			s.Path = database
			s.Rollout.Debounce = &metav1.Duration{}
			s.Rollout.OnFailure = vaultv1alpha1.OnFailureIgnore // or pods are looked at, see TestPodsAreListedWhileARolloutGoesOn
		}))
	}
	for _, object := range all {
		w.ready(object)
	}
	asked("a first sync", map[string]int{"create secrets": objects, "update vaultsecrets/status": objects})

	w.rotate(database, "two")
	for i, d := range deployments {
		w.stamped(d, all[i].Name)
		w.conditionIs(all[i], vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRollingOut)
		w.rolledOut(d)
	}
	for _, object := range all {
		w.holds(object.Name, map[string]string{"value": "two"})
		w.ready(object)
	}
	w.hasEvent(all[0], vaultv1alpha1.ReasonRolledOut)
	rotation := tally(proxy.Requests()[seen:])
	for _, free := range []string{"create events", "update vaultsecrets/status"} { // of which a rollout takes some
		delete(rotation, free)
	}
	if diff := cmp.Diff(map[string]int{"update secrets": objects + 1, "patch deployments": workloads}, rotation); diff != "" {
		t.Errorf("a rotation (-want +got):\n%s", diff)
	}

	for _, object := range all {
		change(w, object, func(o *vaultv1alpha1.VaultSecret) {
			o.Spec.RefreshInterval = &metav1.Duration{Duration: 200 * time.Millisecond}
		})
	}
	for _, object := range all {
		w.ready(object) // of the new generation
	}
	unchanged := op.syncs(t, "Unchanged")
	seen = len(proxy.Requests())
	w.eventually(func() string {
		if got := op.syncs(t, "Unchanged") - unchanged; got < 3*objects {
			return fmt.Sprintf("%d resyncs", got)
		}
		return ""
	})
	asked("resyncs", map[string]int{})
}

// The caches are filled by one watch for each kind: of Secrets, those with Coffer's label;
// of service accounts and namespaces, the metadata.
func TestInformers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy := kubeproxy.Start(t, w.config)
	op := w.startOperatorThrough(proxy.Config(), vaultsecret.Options{Cluster: w.namespace}, true)
	awaits(op.synced)
	w.put(database, "one")
	w.ready(w.ofPath("payments", database))

	watches, lists := map[string]int{}, map[string]int{}
	for _, r := range proxy.Requests() {
		switch r.Verb {
		case "watch":
			watches[r.Resource]++
		case "list":
			lists[r.Resource]++
		default:
			continue
		}
		selector := ""
		if r.Resource == "secrets" {
			selector = vaultv1alpha1.ManagedByLabel + "=" + vaultv1alpha1.ManagedByValue
		}
		if got := r.Query.Get("labelSelector"); got != selector {
			t.Errorf("%s %s selects %q, want %q", r.Verb, r.Resource, got, selector)
		}
		onlyMetadata := r.Resource == "serviceaccounts" || r.Resource == "namespaces"
		if r.WantsMetadata() != onlyMetadata {
			t.Errorf("%s %s accepts %s; the metadata is to be enough: %t", r.Verb, r.Resource, r.Accept, onlyMetadata)
		}
	}
	want := map[string]int{
		"secrets": 1, "serviceaccounts": 1, "namespaces": 1, "vaultsecrets": 1, "vaultpolicies": 1,
		"deployments": 1, "statefulsets": 1, "daemonsets": 1,
	}
	delete(watches, "rollouts") // of Argo, which another test installs
	if diff := cmp.Diff(want, watches); diff != "" {
		t.Errorf("watches (-want +got):\n%s", diff)
	}
	for resource, n := range lists { // none where the API server streams the list as a watch
		if n > want[resource] {
			t.Errorf("%s are listed %d times", resource, n)
		}
	}
}

// What the caches keep is what the operator needs: no value of a Secret, no container,
// no managed fields.
func TestCachesAreStripped(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	const canary = "c4nary-s3cret"
	w.put(database, canary)
	d := w.deployment("api", envFrom("payments"))
	object := w.ofPath("payments", database)
	w.ready(w.rolledOutFirst(object, d))

	secret := &corev1.Secret{}
	deployment := &appsv1.Deployment{}
	account := &metav1.PartialObjectMetadata{}
	account.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	for name, obj := range map[string]client.Object{"payments": secret, "api": deployment} {
		if err := op.cache.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: name}, obj); err != nil {
			t.Fatal(err)
		}
	}
	if err := op.cache.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "api"}, account); err != nil {
		t.Fatal(err)
	}
	for _, obj := range []client.Object{secret, deployment, account} {
		if len(obj.GetManagedFields()) > 0 {
			t.Errorf("the cached %T has managed fields", obj)
		}
	}
	if keys := slices.Collect(maps.Keys(secret.Data)); len(keys) != 1 || keys[0] == "value" {
		t.Errorf("the cached Secret has the keys %q, want one, for a checksum", keys)
	}
	for _, value := range secret.Data {
		if string(value) == canary {
			t.Error("the cached Secret has the value")
		}
	}
	if containers := deployment.Spec.Template.Spec.Containers; len(containers) > 0 {
		t.Errorf("the cached Deployment has containers, of which nothing is asked: %+v", containers)
	}
}

// The pods of a workload are listed, by its labels and some at a time, while a rollout of
// Coffer's goes on, and at no other time.
func TestPodsAreListedWhileARolloutGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	proxy := kubeproxy.Start(t, w.config)
	op := w.startOperatorThrough(proxy.Config(), vaultsecret.Options{Cluster: w.namespace}, true)
	awaits(op.synced)
	object, d := w.rotatedOnce()
	pods := func() (found []kubeproxy.Request) {
		return slices.DeleteFunc(proxy.Requests(), func(r kubeproxy.Request) bool { return r.Resource != "pods" })
	}
	w.eventually(func() string {
		if len(pods()) == 0 {
			return "nobody looks at the pods of a rollout"
		}
		return ""
	})
	w.rolledOut(d)
	w.knownGood(object, 2)
	listed := pods()
	for _, r := range listed {
		if r.Verb != "list" || r.Query.Get("labelSelector") != "app=api" || r.Query.Get("limit") == "" {
			t.Errorf("the request is %+v", r)
		}
	}
	unchanged := op.syncs(t, "Unchanged")
	for i := range 3 {
		w.refresh(object, fmt.Sprint(i))
	}
	change(w, object, func(o *vaultv1alpha1.VaultSecret) {
		o.Spec.RefreshInterval = &metav1.Duration{Duration: 50 * time.Millisecond}
	})
	w.eventually(func() string {
		if op.syncs(t, "Unchanged") < unchanged+3 {
			return "no resync"
		}
		return ""
	})
	if more := len(pods()) - len(listed); more > 0 {
		t.Errorf("pods are listed %d times without a rollout", more)
	}
}
