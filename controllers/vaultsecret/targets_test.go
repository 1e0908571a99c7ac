package vaultsecret_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

func (w *world) workloadsAre(object *vaultv1alpha1.VaultSecret, want ...vaultv1alpha1.WorkloadStatus) {
	w.t.Helper()
	w.eventually(func() string {
		return cmp.Diff(want, refreshed(w, object).Status.Workloads, cmpopts.IgnoreFields(vaultv1alpha1.WorkloadStatus{}, "Message", "RollingSince"), cmpopts.EquateEmpty())
	})
}

func deploymentIn(name string, state vaultv1alpha1.WorkloadState) vaultv1alpha1.WorkloadStatus {
	return vaultv1alpha1.WorkloadStatus{Kind: "Deployment", Name: name, State: state}
}

func usesNothing(*corev1.PodSpec) {}

// Named workloads are rolled whether or not they use the Secret, and no others.
func TestTargetsAndSelector(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Rollout = vaultv1alpha1.VaultSecretRollout{
			Targets:  []vaultv1alpha1.RolloutTarget{{Kind: vaultv1alpha1.WorkloadDeployment, Name: "by-name"}},
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "payments"}},
			Debounce: &metav1.Duration{},
		}
	})
	byName, byLabel, user := w.deployment("by-name", usesNothing), w.deployment("by-label", usesNothing), w.deployment("user", envFrom("payments"))
	change(w, byLabel, func(d *appsv1.Deployment) { d.Labels = map[string]string{"team": "payments"} })
	for _, d := range []*appsv1.Deployment{byName, byLabel, user} {
		w.rolledOut(d)
	}
	w.workloadsAre(object, deploymentIn("by-label", vaultv1alpha1.WorkloadCurrent), deploymentIn("by-name", vaultv1alpha1.WorkloadCurrent))
	w.ready(object)
	if said := rolledOutMessage(object); said != "True/RolledOut: every workload that spec.rollout names is rolled; others are left alone" {
		t.Errorf("RolledOut is %q", said)
	}

	w.rotate(database, "two")
	w.stamped(byName, "payments")
	w.stamped(byLabel, "payments")
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
	if got := refreshed(w, user).Generation; got != 1 {
		t.Error("a workload that is not named was rolled")
	}
	for _, d := range []*appsv1.Deployment{byName, byLabel} {
		if got := refreshed(w, d).Generation; got != 2 {
			t.Errorf("%s was rolled %d times", d.Name, got-1)
		}
		w.rolledOut(d)
	}
	w.ready(object)

	t.Run("a label that is taken away", func(t *testing.T) {
		change(w, byLabel, func(d *appsv1.Deployment) { d.Labels = nil })
		w.workloadsAre(object, deploymentIn("by-name", vaultv1alpha1.WorkloadCurrent))
	})
	t.Run("without names those that use it", func(t *testing.T) {
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Rollout = vaultv1alpha1.VaultSecretRollout{} })
		// So soon after the change it is rolled, too: its pods have the old content.
		w.stamped(user, "payments")
		w.workloadsAre(object, deploymentIn("user", vaultv1alpha1.WorkloadRollingOut))
	})
}

// A target that does not exist is told, keeps nobody waiting, and is not rolled for what
// changed before it was made.
func TestMissingTarget(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Rollout.Targets = []vaultv1alpha1.RolloutTarget{
			{Kind: vaultv1alpha1.WorkloadStatefulSet, Name: "late"}, {Kind: vaultv1alpha1.WorkloadDeployment, Name: "late"},
		}
		s.Rollout.Debounce = &metav1.Duration{}
	})
	w.ready(object)
	w.rotate(database, "two")
	w.holds("payments", map[string]string{"value": "two"})
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonWorkloadNotFound)
	w.ready(object)
	if said := rolledOutMessage(object); !strings.Contains(said, "there is no StatefulSet/late (spec.rollout.targets names it") {
		t.Errorf("RolledOut is %q", said)
	}
	w.eventually(func() string { // creationTimestamp has seconds
		if target := refreshed(w, object).Status.Target; target.ContentChangedAt == nil || time.Since(target.ContentChangedAt.Time) < time.Second {
			return "the second of the change is not over"
		}
		return ""
	})
	late := w.deployment("late", usesNothing)
	w.workloadsAre(object, deploymentIn("late", vaultv1alpha1.WorkloadRollingOut),
		vaultv1alpha1.WorkloadStatus{Kind: "StatefulSet", Name: "late", State: vaultv1alpha1.WorkloadNotFound})
	w.rolledOut(late)
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonWorkloadNotFound)
	if got := refreshed(w, late).Generation; got != 1 {
		t.Error("a target that was made after the change was rolled")
	}
	w.delete(late)
	w.workloadsAre(object, vaultv1alpha1.WorkloadStatus{Kind: "StatefulSet", Name: "late", State: vaultv1alpha1.WorkloadNotFound},
		deploymentIn("late", vaultv1alpha1.WorkloadNotFound))
}

// A label that cannot be is told in the status; nothing is rolled.
func TestSelectorThatCannotBe(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Rollout.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a b"}}
	})
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRolloutFailed)
	if said := rolledOutMessage(object); !strings.Contains(said, "no workload can be rolled: spec.rollout.selector") {
		t.Errorf("RolledOut is %q", said)
	}
	w.holds("payments", map[string]string{"value": "one"})
}
