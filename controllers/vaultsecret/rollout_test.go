package vaultsecret_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// rotate writes a new version.
func (w *world) rotate(path, value string) {
	w.t.Helper()
	_, err := w.vault.Engine.Rotate(context.Background(), w.vault.Admin, secret.PutRequest{
		Path: vaulttest.Path(w.t, path), Value: vaulttest.Value(w.t, value),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// stamped waits until the Deployment carries the stamp of the Secret's content.
func (w *world) stamped(d *appsv1.Deployment, secretName string) {
	w.t.Helper()
	w.eventually(func() string {
		want := w.secret(secretName).Annotations[vaultv1alpha1.ChecksumAnnotation]
		got := refreshed(w, d).Spec.Template.Annotations[rollout.StampAnnotation(secretName)]
		if got != want {
			return fmt.Sprintf("the stamp of %s is %q, want %q", d.Name, got, want)
		}
		return ""
	})
}

// A rotation updates the Secret and rolls exactly the workloads that use it, each
// once, and Ready tells when they are through.
func TestRotationRolls(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, `{"password":"one"}`)
	w.put("production/payments/other", "other")
	object, other := w.ofPath("payments", database), w.ofPath("other", "production/payments/other")
	w.ready(object)
	w.ready(other)
	byEnv, byVolume := w.deployment("by-env", envFrom("payments")), w.deployment("by-volume", volume("payments"))
	both := w.deployment("both", func(pod *corev1.PodSpec) { envFrom("payments")(pod); envFrom("other")(pod) })
	unrelated := w.deployment("unrelated", envFrom("other"))
	all := []*appsv1.Deployment{byEnv, byVolume, both, unrelated}
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRollingOut)
	for _, d := range all {
		w.rolledOut(d)
	}
	w.ready(object)
	w.ready(other)
	for _, d := range all {
		if refreshed(w, d).Generation != 1 {
			t.Fatalf("the first sync stamped %s", d.Name)
		}
	}

	reads := op.engine.reads.Load()
	w.rotate(database, `{"password":"two"}`)
	w.holds("payments", map[string]string{"password": "two"})
	for _, d := range []*appsv1.Deployment{byEnv, byVolume, both} {
		w.stamped(d, "payments")
	}
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRollingOut)
	want := []vaultv1alpha1.WorkloadStatus{
		{Kind: "Deployment", Name: "both", State: vaultv1alpha1.WorkloadRollingOut},
		{Kind: "Deployment", Name: "by-env", State: vaultv1alpha1.WorkloadRollingOut},
		{Kind: "Deployment", Name: "by-volume", State: vaultv1alpha1.WorkloadRollingOut},
	}
	if diff := cmp.Diff(want, object.Status.Workloads, cmpopts.IgnoreFields(vaultv1alpha1.WorkloadStatus{}, "RollingSince")); diff != "" {
		t.Errorf("workloads (-want +got):\n%s", diff)
	}
	if note := w.hasEvent(object, "ContentChanged"); !strings.Contains(note, "Deployment/both, Deployment/by-env, Deployment/by-volume") {
		t.Errorf("the event does not name what rolls: %s", note)
	}
	for _, d := range []*appsv1.Deployment{byEnv, byVolume, both} {
		w.rolledOut(d)
	}
	w.ready(object)
	w.hasEvent(object, vaultv1alpha1.ReasonRolledOut)
	if got := op.engine.reads.Load() - reads; got != 1 {
		t.Errorf("one rotation read the vault %d times", got)
	}

	for _, d := range []*appsv1.Deployment{byEnv, byVolume, both} {
		if got := refreshed(w, d).Generation; got != 2 {
			t.Errorf("%s was changed %d times, want once", d.Name, got-1)
		}
	}
	if refreshed(w, unrelated).Generation != 1 {
		t.Error("a Deployment that does not use the Secret was rolled")
	}
	if object.Status.Version != 2 || object.Status.Target.ContentChangedAt == nil {
		t.Errorf("the status is %+v", object.Status)
	}

	t.Run("a rollout of the workload's own changes nothing", func(t *testing.T) {
		change(w, byEnv, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "none.local/next" })
		before := refreshed(w, object).Status
		w.reconciled(op, object)
		if diff := cmp.Diff(before, object.Status); diff != "" {
			t.Errorf("the status was written (-before +after):\n%s", diff)
		}
	})
	t.Run("the same content again rolls nothing", func(t *testing.T) {
		w.rotate(database, `{"password":"two"}`)
		w.eventually(func() string {
			if got := refreshed(w, object).Status.Version; got != 3 {
				return fmt.Sprintf("version %d is synced", got)
			}
			return ""
		})
		w.reconciled(op, object)
		if got := refreshed(w, both).Generation; got != 2 {
			t.Error("the workloads were rolled for the same content")
		}
	})
	t.Run("a new workload starts with the present content", func(t *testing.T) {
		late := w.deployment("late", envFrom("payments"))
		w.eventually(func() string {
			if len(refreshed(w, object).Status.Workloads) != 4 {
				return "the new Deployment is not seen"
			}
			return ""
		})
		// Made in the second of the change it would count as older; the change was long
		// enough ago only if the clock has moved on.
		if late.CreationTimestamp.After(object.Status.Target.ContentChangedAt.Time) && refreshed(w, late).Generation != 1 {
			t.Error("a Deployment younger than the content was rolled")
		}
	})
}

// reconciled makes the operator look at object again and waits until it has.
func (w *world) reconciled(op *operator, object *vaultv1alpha1.VaultSecret) {
	w.t.Helper()
	before := op.syncs(w.t, "Unchanged")
	patch := []byte(fmt.Sprintf(`{"metadata":{"annotations":{"again":"%d"}}}`, before))
	if err := w.client.Patch(context.Background(), object.DeepCopy(), client.RawPatch("application/merge-patch+json", patch)); err != nil {
		w.t.Fatal(err)
	}
	w.eventually(func() string {
		if op.syncs(w.t, "Unchanged") == before {
			return "the operator has not looked again"
		}
		return ""
	})
	refreshed(w, object)
}

// StatefulSets and DaemonSets roll too; what a person holds back is told.
func TestRolloutOfOtherKinds(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	labels := map[string]string{"app": "x"}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: w.namespace, Name: name} }
	selector := &metav1.LabelSelector{MatchLabels: labels}
	w.create(&appsv1.StatefulSet{ObjectMeta: meta("set"), Spec: appsv1.StatefulSetSpec{
		Selector: selector, ServiceName: "set", Template: podTemplate(labels, envFrom("payments")),
	}})
	w.create(&appsv1.DaemonSet{ObjectMeta: meta("daemon"), Spec: appsv1.DaemonSetSpec{
		Selector: selector, Template: podTemplate(labels, volume("payments")),
		UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType},
	}})
	paused := w.deployment("paused", envFrom("payments"))
	change(w, paused, func(d *appsv1.Deployment) { d.Spec.Paused = true })
	w.rotate(database, "two")

	for _, obj := range []client.Object{
		&appsv1.StatefulSet{ObjectMeta: meta("set")}, &appsv1.DaemonSet{ObjectMeta: meta("daemon")}, &appsv1.Deployment{ObjectMeta: meta("paused")},
	} {
		w.eventually(func() string {
			workload, _ := rollout.FromObject(refreshed(w, obj))
			if workload.Stamp("payments") == "" {
				return workload.Kind + " is not stamped"
			}
			return ""
		})
	}
	refreshed(w, paused)
	paused.Status = appsv1.DeploymentStatus{ObservedGeneration: paused.Generation, Replicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	if err := w.client.Status().Update(t.Context(), paused); err != nil {
		t.Fatal(err)
	}
	daemon := refreshed(w, &appsv1.DaemonSet{ObjectMeta: meta("daemon")})
	daemon.Status = appsv1.DaemonSetStatus{ObservedGeneration: daemon.Generation, DesiredNumberScheduled: 2, NumberReady: 2, NumberAvailable: 2}
	if err := w.client.Status().Update(t.Context(), daemon); err != nil {
		t.Fatal(err)
	}
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRolloutPaused)
	w.eventually(func() string {
		return cmp.Diff([]vaultv1alpha1.WorkloadStatus{
			{Kind: "DaemonSet", Name: "daemon", State: vaultv1alpha1.WorkloadPaused},
			{Kind: "Deployment", Name: "paused", State: vaultv1alpha1.WorkloadPaused},
			{Kind: "StatefulSet", Name: "set", State: vaultv1alpha1.WorkloadRollingOut},
		}, refreshed(w, object).Status.Workloads, cmpopts.IgnoreFields(vaultv1alpha1.WorkloadStatus{}, "Message", "RollingSince"))
	})
	w.hasEvent(object, vaultv1alpha1.ReasonRolloutPaused)
}

// A rollout that misses its deadline is Failed, and mode None leaves workloads alone.
func TestRolloutFailsOrIsDisabled(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	disabled := w.vaultSecret("disabled", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Rollout.Mode = vaultv1alpha1.RolloutNone
	})
	w.ready(object)
	w.ready(disabled)
	d, left := w.deployment("api", envFrom("payments")), w.deployment("left", envFrom("disabled"))
	w.rotate(database, "two")
	w.stamped(d, "payments")
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 2, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}}
	if err := w.client.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRolloutFailed)
	if c := w.conditionIs(object, vaultv1alpha1.ConditionSynced, vaultv1alpha1.ReasonSynced); c.Status != metav1.ConditionTrue {
		t.Error("a failed rollout makes Synced false")
	}
	w.hasEvent(object, vaultv1alpha1.ReasonRolloutFailed)

	w.holds("disabled", map[string]string{"value": "two"})
	w.conditionIs(disabled, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRolloutDisabled)
	w.ready(disabled)
	if refreshed(w, left).Generation != 1 {
		t.Error("rollout mode None rolled a workload")
	}
}

// A restarted operator finds all in step: it opens nothing and writes nothing. What
// changed while it was away it finishes.
func TestRestart(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	d := w.deployment("api", envFrom("payments"))
	w.rotate(database, "two")
	w.stamped(d, "payments")
	w.rolledOut(d)
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRolledOut)
	w.ready(object)
	op.stop()

	versions := func() []string {
		return []string{refreshed(w, object).ResourceVersion, w.secret("payments").ResourceVersion, refreshed(w, d).ResourceVersion}
	}
	before := versions()
	again := w.startOperator()
	w.eventually(func() string {
		if again.syncs(t, "Unchanged") == 0 {
			return "the new operator has not looked"
		}
		return ""
	})
	w.reconciled(again, object)
	before[0] = object.ResourceVersion // reconciled wrote an annotation
	if diff := cmp.Diff(before, versions()); diff != "" {
		t.Errorf("the restart wrote (-before +after):\n%s", diff)
	}
	if got := again.engine.reads.Load(); got != 0 {
		t.Errorf("the restart read the vault %d times", got)
	}

	t.Run("with a rotation meanwhile", func(t *testing.T) {
		again.stop()
		w.rotate(database, "three")
		w.startOperator()
		w.holds("payments", map[string]string{"value": "three"})
		w.stamped(d, "payments")
	})
}

// The operator dies after it wrote the Secret and before it stamped the workloads
// and wrote the status: the next one finishes.
func TestCrashBeforeTheStamp(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	d := w.deployment("api", envFrom("payments"))
	w.rolledOut(d)
	w.ready(object)
	old := object.Status.DeepCopy()
	w.rotate(database, "two")
	w.stamped(d, "payments")
	op.stop()

	// Back to what the crash would have left behind.
	change(w, d, func(d *appsv1.Deployment) { d.Spec.Template.Annotations = nil })
	refreshed(w, object)
	object.Status = *old
	if err := w.client.Status().Update(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	written := w.secret("payments").UID

	w.startOperator()
	w.stamped(d, "payments")
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
	if w.secret("payments").UID != written {
		t.Error("the Secret was made anew")
	}
}
