package vaultsecret_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
)

// installArgoRollouts adds the kind to the API server, for this test and the operators
// that start after it.
func (w *world) installArgoRollouts() {
	w.t.Helper()
	text, err := os.ReadFile("testdata/argo_rollouts.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, crd); err != nil {
		w.t.Fatal(err)
	}
	if err := w.client.Create(context.Background(), crd); err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
	w.eventually(func() string {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(rollout.ArgoRollout)
		if err := w.client.List(context.Background(), list, client.InNamespace(w.namespace)); err != nil {
			return err.Error()
		}
		return ""
	})
}

func (w *world) argoRollout(name, spec string) *unstructured.Unstructured {
	w.t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte("spec: "+spec), &u.Object); err != nil {
		w.t.Fatal(err)
	}
	u.SetGroupVersionKind(rollout.ArgoRollout)
	u.SetNamespace(w.namespace)
	u.SetName(name)
	w.create(u)
	return u
}

// argoPhase writes the status that the controller of Argo Rollouts writes.
func (w *world) argoPhase(u *unstructured.Unstructured, phase string) {
	w.t.Helper()
	refreshed(w, u)
	u.Object["status"] = map[string]any{"phase": phase, "observedGeneration": strconv.FormatInt(u.GetGeneration(), 10)}
	if err := w.client.Status().Update(context.Background(), u); err != nil {
		w.t.Fatal(err)
	}
}

// An Argo Rollout that uses the Secret is stamped as a Deployment is, and its phase is
// its state. One that refers to a Deployment is left to that.
func TestArgoRollouts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.installArgoRollouts()
	w.startOperator()
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	u := w.argoRollout("canary", `{replicas: 1, template: {metadata: {labels: {app: canary}}, spec: {containers: [{name: main, image: none.local/none, envFrom: [{secretRef: {name: payments}}]}]}}}`)
	w.argoRollout("referring", `{workloadRef: {apiVersion: apps/v1, kind: Deployment, name: api}}`)
	w.argoRollout("hostile", `{template: [1, {spec: 3}]}`)
	is := func(state vaultv1alpha1.WorkloadState) {
		t.Helper()
		w.workloadsAre(object, vaultv1alpha1.WorkloadStatus{Kind: "Rollout", Name: "canary", State: state})
	}
	is(vaultv1alpha1.WorkloadRollingOut)
	w.argoPhase(u, "Healthy")
	w.ready(object)

	w.rotate(database, "two")
	w.eventually(func() string {
		want := w.secret("payments").Annotations[vaultv1alpha1.ChecksumAnnotation]
		got, _, _ := unstructured.NestedString(refreshed(w, u).Object, "spec", "template", "metadata", "annotations", rollout.StampAnnotation("payments"))
		if got != want {
			return fmt.Sprintf("the stamp is %q, want %q", got, want)
		}
		return ""
	})
	if got := u.GetGeneration(); got != 2 {
		t.Errorf("the Rollout was changed %d times, want once", got-1)
	}
	if image, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers"); len(image) != 1 {
		t.Errorf("the stamp left the containers %v", image)
	}
	is(vaultv1alpha1.WorkloadRollingOut)
	w.argoPhase(u, "Paused")
	is(vaultv1alpha1.WorkloadPaused)
	w.argoPhase(u, "Degraded")
	w.isBack(object, "one", 1)
	w.stampIs(u, "payments", "")
	w.argoPhase(u, "Healthy")
	w.rotate(database, "three")
	w.stampIs(u, "payments", w.stampOf(object, "three"))
	w.argoPhase(u, "Healthy")
	w.ready(object)

	t.Run("named", func(t *testing.T) {
		change(w, object, func(o *vaultv1alpha1.VaultSecret) {
			o.Spec.Rollout = vaultv1alpha1.VaultSecretRollout{
				Targets:  []vaultv1alpha1.RolloutTarget{{Kind: vaultv1alpha1.WorkloadArgoRollout, Name: "referring"}},
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "payments"}},
			}
		})
		change(w, u, func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{"team": "payments"}) })
		w.workloadsAre(object, vaultv1alpha1.WorkloadStatus{Kind: "Rollout", Name: "canary", State: vaultv1alpha1.WorkloadCurrent},
			vaultv1alpha1.WorkloadStatus{Kind: "Rollout", Name: "referring", State: vaultv1alpha1.WorkloadFailed})
		if said := rolledOutMessage(object); !strings.Contains(said, "workloadRef") {
			t.Errorf("RolledOut is %q", said)
		}
	})
}
