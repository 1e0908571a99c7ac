//go:build e2e

package e2e

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/hack/sampleapp/fingerprint"
)

// TestBadRotationIsRolledBack: the pods of a Deployment exit when the password is wrong. A rotation to a wrong one
// is taken back while the old pods keep serving, and is not tried again; the next rotation, to a good one, is.
func TestBadRotationIsRolledBack(t *testing.T) {
	e := newEnvironment(t)
	good, bad, next := randomValue(), randomValue(), randomValue()
	e.put(t, e.path("database"), good)
	vs := vaultSecretObject(e.namespace, "database", e.path("database"))
	vs.Spec.Rollout.OnFailure = vaultv1alpha1.OnFailureRollback
	must(t, e.client.Create(t.Context(), vs))
	web := e.deployment()
	web.Spec.MinReadySeconds = 5 // a pod that has not crashed yet must not count as available
	web.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxUnavailable: new(intstr.FromInt32(0)), MaxSurge: new(intstr.FromInt32(1))}
	web.Spec.Template.Spec.Containers[0].Env = append(web.Spec.Template.Spec.Containers[0].Env, corev1.EnvVar{
		Name: "ACCEPTED", Value: fingerprint.Of(fingerprintKey, []byte(good)) + "," + fingerprint.Of(fingerprintKey, []byte(next)),
	})
	must(t, e.client.Create(t.Context(), web))
	e.waitForRolledOut(t, vs, 1, 1)
	serving := e.watchAvailable(t, web)

	coffer(t, bad, "rotate", e.path("database"))
	eventually(t, "the bad rotation to be rolled back", func(ctx context.Context) (bool, error) {
		if err := e.client.Get(ctx, client.ObjectKeyFromObject(vs), vs); err != nil {
			return false, err
		}
		return reasonOf(vs, vaultv1alpha1.ConditionRolledOut) == vaultv1alpha1.ReasonRolledBack && vs.Status.Version == 1, nil
	})
	e.waitForValue(t, "database", good)
	e.waitForFingerprint(t, "web", good)
	if n := e.templateHashes(t)["web"]; n != 2 {
		t.Errorf("the Deployment has had %d pod templates, want 2: that of the good password is used again", n)
	}
	e.wantWarning(t, vs, "RolledBack")
	e.waitForManagers(t, e.killManagers(t)) // a new operator does not try the bad version again: see the count of templates below

	coffer(t, next, "rotate", e.path("database"))
	e.waitForFingerprint(t, "web", next)
	e.waitForRolledOut(t, vs, 3, 1)
	e.wantTriedOnce(t, 3)
	if fewest := serving(); fewest < 2 {
		t.Errorf("only %d of 2 pods were available at some moment", fewest)
	}
}

func reasonOf(vs *vaultv1alpha1.VaultSecret, condition string) string {
	for _, c := range vs.Status.Conditions {
		if c.Type == condition {
			return c.Reason
		}
	}
	return ""
}

// wantWarning waits for a Warning of the VaultSecret with that reason.
func (e *environment) wantWarning(t *testing.T, vs *vaultv1alpha1.VaultSecret, reason string) {
	t.Helper()
	warned := func(ctx context.Context) (bool, error) {
		events, err := e.clientset.EventsV1().Events(e.namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, event := range events.Items {
			if event.Regarding.UID == vs.UID && event.Reason == reason && event.Type == corev1.EventTypeWarning && !strings.Contains(event.Note, "canary-") {
				return true, nil
			}
		}
		return false, nil
	}
	eventually(t, "the Event "+reason, warned)
}

// watchAvailable follows the Deployment, and returns what says how few of its pods were available at a time since.
func (e *environment) watchAvailable(t *testing.T, d *appsv1.Deployment) (fewest func() int32) {
	t.Helper()
	events, err := e.clientset.AppsV1().Deployments(d.Namespace).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + d.Name}) // from now on
	must(t, err)
	least, ended := int32(math.MaxInt32), make(chan struct{})
	go func() {
		defer close(ended)
		for event := range events.ResultChan() {
			if d, ok := event.Object.(*appsv1.Deployment); ok {
				least = min(least, d.Status.AvailableReplicas)
			}
		}
	}()
	return func() int32 {
		events.Stop()
		<-ended
		return least
	}
}

// wantTriedOnce fails when the ReplicaSet of the bad value, which the second revision of the Deployment made, was scaled up
// again: it would be of a later revision then.
func (e *environment) wantTriedOnce(t *testing.T, templates int) {
	t.Helper()
	if n := e.templateHashes(t)["web"]; n != templates {
		t.Errorf("the Deployment has had %d pod templates, want %d", n, templates)
	}
	var revisions []string
	var sets appsv1.ReplicaSetList
	must(t, e.client.List(t.Context(), &sets, client.InNamespace(e.namespace)))
	for _, set := range sets.Items {
		revisions = append(revisions, set.Annotations["deployment.kubernetes.io/revision"])
	}
	if !slices.Contains(revisions, "2") {
		t.Errorf("the bad value was tried again: the revisions are %v", revisions)
	}
}
