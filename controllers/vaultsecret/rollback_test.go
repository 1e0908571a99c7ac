package vaultsecret_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret"
	"github.com/coffer-vault/coffer/internal/rollout"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// missesDeadline writes the status that the Deployment controller writes when the new
// pods have not come up in time.
func (w *world) missesDeadline(d *appsv1.Deployment) {
	w.t.Helper()
	refreshed(w, d)
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 2, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}}
	if err := w.client.Status().Update(context.Background(), d); err != nil {
		w.t.Fatal(err)
	}
}

// pod makes a pod of the workload's present template, of which the kubelet, which there
// is none of, would tell status.
func (w *world) pod(obj client.Object, status corev1.PodStatus) *corev1.Pod {
	w.t.Helper()
	workload, _ := rollout.FromObject(refreshed(w, obj))
	pod := &corev1.Pod{ObjectMeta: *workload.Template.ObjectMeta.DeepCopy(), Spec: *workload.Template.Spec.DeepCopy()}
	pod.Namespace, pod.GenerateName = w.namespace, obj.GetName()+"-"
	w.create(pod)
	w.tellsOfPod(pod, status)
	return pod
}

func (w *world) tellsOfPod(pod *corev1.Pod, status corev1.PodStatus) {
	w.t.Helper()
	pod.Status = status
	if err := w.client.Status().Update(context.Background(), pod); err != nil {
		w.t.Fatal(err)
	}
}

// crashing is the status of a pod whose container cannot stay up, and last began then.
func crashing(began time.Time) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "main", Image: "none.local/none", RestartCount: 2,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "hunter2"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Message: "hunter2", StartedAt: metav1.NewTime(began)}},
	}}}
}

// unready is the status of a pod that is not ready since then.
func unready(since time.Time) corev1.PodStatus {
	return corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
		Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(since),
	}}}
}

// crashingPod makes a pod of the workload's present template whose container cannot
// stay up.
func (w *world) crashingPod(obj client.Object) {
	w.t.Helper()
	w.pod(obj, crashing(time.Now()))
}

// knownGood waits until the status says that the workloads ran with these versions.
func (w *world) knownGood(object *vaultv1alpha1.VaultSecret, versions ...int64) {
	w.t.Helper()
	w.eventually(func() string {
		var got []int64
		if good := refreshed(w, object).Status.LastGood; good != nil {
			for _, source := range good.Sources {
				got = append(got, source.Version)
			}
		}
		return cmp.Diff(versions, got)
	})
}

// rotatedOnce makes a Deployment that runs with version one of the Secret payments, and is stamped for version two.
func (w *world) rotatedOnce() (*vaultv1alpha1.VaultSecret, *appsv1.Deployment) {
	w.t.Helper()
	w.put(database, "one")
	object := w.ofPath("payments", database)
	d := w.deployment("api", envFrom("payments"))
	w.ready(w.rolledOutFirst(object, d))
	w.rotate(database, "two")
	w.stamped(d, "payments")
	return object, d
}

// isBack waits until the Secret holds value again, of version, and the status says that
// a newer one is refused.
func (w *world) isBack(object *vaultv1alpha1.VaultSecret, value string, version int64) {
	w.t.Helper()
	w.holds(object.Name, map[string]string{"value": value})
	w.eventually(func() string {
		if got := refreshed(w, object).Status; got.Rejected == nil || got.Version != version {
			return fmt.Sprintf("the status says version %d, refused is %+v; want version %d", got.Version, got.Rejected, version)
		}
		return ""
	})
	for kind, want := range map[string]metav1.ConditionStatus{
		vaultv1alpha1.ConditionReady: metav1.ConditionFalse, vaultv1alpha1.ConditionRolledOut: metav1.ConditionFalse,
	} {
		if c := w.conditionIs(object, kind, vaultv1alpha1.ReasonRolledBack); c.Status != want {
			w.t.Errorf("%s is %s", kind, c.Status)
		}
	}
	if c := w.conditionIs(object, vaultv1alpha1.ConditionSynced, vaultv1alpha1.ReasonSynced); c.Status != metav1.ConditionTrue {
		w.t.Errorf("Synced is %s", c.Status)
	}
}

// stampIs waits until the template has this stamp for the Secret; empty for none.
func (w *world) stampIs(obj client.Object, secretName, want string) {
	w.t.Helper()
	w.eventually(func() string {
		workload, _ := rollout.FromObject(refreshed(w, obj))
		if got := workload.Stamp(secretName); got != want {
			return fmt.Sprintf("the stamp of %s is %q, want %q", obj.GetName(), got, want)
		}
		return ""
	})
}

func (w *world) askAgain(object *vaultv1alpha1.VaultSecret, at string) {
	w.t.Helper()
	change(w, object, func(o *vaultv1alpha1.VaultSecret) {
		o.Annotations = map[string]string{vaultv1alpha1.RefreshAnnotation: at}
	})
}

// A rollout that misses its deadline takes the Secret and the workload back to where
// they were, to the very template; the bad version is not tried again by a resync or
// another operator, and is by a newer version or when somebody asks for it.
func TestRollback(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	d := w.deployment("api", envFrom("payments"))
	w.ready(w.rolledOutFirst(object, d))
	w.knownGood(object, 1)
	w.rotate(database, "two")
	w.stamped(d, "payments")
	w.missesDeadline(d)

	w.isBack(object, "one", 1)
	w.stampIs(d, "payments", "")
	said := rolledOutMessage(object)
	for _, want := range []string{"Deployment/api", "progress deadline", "back to " + database + " version 1", database + " version 2 is refused", vaultv1alpha1.RefreshAnnotation} {
		if !strings.Contains(said, want) {
			t.Errorf("RolledOut does not say %q: %s", want, said)
		}
	}
	if c := w.conditionIs(object, vaultv1alpha1.ConditionSynced, vaultv1alpha1.ReasonSynced); !strings.Contains(c.Message, "version 1; "+database+" version 2 is refused") {
		t.Errorf("Synced says %s", c.Message)
	}
	w.hasEvent(object, vaultv1alpha1.ReasonRolledBack)
	if failed, back := op.counter(t, "coffer_rollouts_failed_total"), op.counter(t, "coffer_rollouts_rolled_back_total"); failed != 1 || back != 1 {
		t.Errorf("%d rollouts are counted as failed and %d as rolled back, want 1 and 1", failed, back)
	}
	w.rolledOut(d)
	w.workloadsAre(object, deploymentIn("api", vaultv1alpha1.WorkloadCurrent))
	w.isBack(object, "one", 1)

	w.reconciled(op, object)
	op.stop()
	again := w.startOperator()
	w.eventually(func() string {
		if again.syncs(t, "Unchanged") == 0 {
			return "the new operator has not looked"
		}
		return ""
	})
	w.reconciled(again, object)
	w.isBack(object, "one", 1)
	if got := refreshed(w, d).Generation; got != 3 {
		t.Errorf("the Deployment was changed %d times, want forth and back", got-1)
	}
	if got := again.engine.reads.Load(); got != 0 {
		t.Errorf("the restart read the vault %d times", got)
	}

	w.rotate(database, "three")
	w.holds("payments", map[string]string{"value": "three"})
	w.stamped(d, "payments")
	w.rolledOut(d)
	w.ready(object)
	w.knownGood(object, 3)
	good := refreshed(w, d).Spec.Template.Annotations[rollout.StampAnnotation("payments")]

	w.rotate(database, "four")
	w.holds("payments", map[string]string{"value": "four"})
	w.stamped(d, "payments")
	w.missesDeadline(d)
	w.isBack(object, "three", 3)
	w.stampIs(d, "payments", good)
	w.rolledOut(d)

	w.askAgain(object, "now")
	w.holds("payments", map[string]string{"value": "four"})
	w.stamped(d, "payments")
	w.missesDeadline(d)
	w.isBack(object, "three", 3)
	w.stampIs(d, "payments", good)
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Rollout.OnFailure = vaultv1alpha1.OnFailureIgnore })
	w.holds("payments", map[string]string{"value": "four"})
}

// rolledOutFirst brings a Deployment that was made with the first content into step.
func (w *world) rolledOutFirst(object *vaultv1alpha1.VaultSecret, deployments ...*appsv1.Deployment) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	w.eventually(func() string {
		if got := len(refreshed(w, object).Status.Workloads); got != len(deployments) {
			return fmt.Sprintf("%d workloads are seen", got)
		}
		return ""
	})
	for _, d := range deployments {
		w.rolledOut(d)
	}
	return object
}

// ofEachKind makes a workload of each kind, which uses the Secret payments.
var ofEachKind = map[string]func(*world) client.Object{
	"Deployment": func(w *world) client.Object { return w.deployment("x", envFrom("payments")) },
	"StatefulSet": func(w *world) client.Object {
		s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "x"}, Spec: appsv1.StatefulSetSpec{
			Selector: selectX, ServiceName: "x", Template: podTemplate(selectX.MatchLabels, envFrom("payments"))}}
		w.create(s)
		return s
	},
	"DaemonSet": func(w *world) client.Object {
		d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "x"}, Spec: appsv1.DaemonSetSpec{
			Selector: selectX, Template: podTemplate(selectX.MatchLabels, envFrom("payments"))}}
		w.create(d)
		return d
	},
}

var selectX = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}

// rolling makes a workload by build that runs with version one of the Secret payments and is
// stamped for version two.
func (w *world) rolling(build func(*world) client.Object) (*vaultv1alpha1.VaultSecret, client.Object) {
	w.t.Helper()
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.holds("payments", map[string]string{"value": "one"})
	workload := build(w)
	w.complete(workload)
	w.knownGood(object, 1)
	w.rotate(database, "two")
	w.stampIs(workload, "payments", w.stampOf(object, "two"))
	return object, workload
}

// Pods that crash are seen long before any deadline, of every kind of workload, also
// where the workload itself says that all is well.
func TestCrashRollsBack(t *testing.T) {
	t.Parallel()
	for kind, build := range ofEachKind {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w, _ := newRunningWorld(t)
			object, workload := w.rolling(build)
			w.crashingPod(workload)
			w.complete(workload) // without a readiness probe it looks like that
			w.isBack(object, "one", 1)
			w.stampIs(workload, "payments", "")
			said := rolledOutMessage(object)
			if !strings.Contains(said, kind+"/x") || !strings.Contains(said, "the container main of a new pod crashes with exit code 3") {
				t.Errorf("RolledOut says %s", said)
			}
			if event := w.hasEvent(object, vaultv1alpha1.ReasonRolledBack); strings.Contains(said+event, "hunter2") {
				t.Error("what the container left behind is repeated")
			}
		})
	}
}

// A StatefulSet and a DaemonSet, which have no deadline of their own, have failed when a
// new pod has not been ready for ten minutes, and not before.
func TestStandingStillRollsBack(t *testing.T) {
	t.Parallel()
	const limit, margin = 10 * time.Minute, time.Minute
	for _, kind := range []string{"StatefulSet", "DaemonSet"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w, op := newRunningWorld(t)
			object, workload := w.rolling(ofEachKind[kind])
			pod := w.pod(workload, unready(time.Now().Add(margin-limit)))
			w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
			w.reconciled(op, object)
			w.isNotRefused(object, "two")

			w.tellsOfPod(pod, unready(time.Now().Add(-limit)))
			w.isBack(object, "one", 1)
			w.stampIs(workload, "payments", "")
			if said := rolledOutMessage(object); !strings.Contains(said, kind+"/x failed: a new pod has not been ready for ten minutes") {
				t.Errorf("RolledOut says %s", said)
			}
		})
	}
}

// isNotRefused fails when the Secret does not hold value, or anything is refused.
func (w *world) isNotRefused(object *vaultv1alpha1.VaultSecret, value string) {
	w.t.Helper()
	if got := string(w.secret("payments").Data["value"]); got != value {
		w.t.Errorf("the Secret holds %q, want %q", got, value)
	}
	if got := refreshed(w, object).Status.Rejected; got != nil {
		w.t.Errorf("refused is %+v", got)
	}
}

// New pods that could not start while the Secret was taken away are no failed rollout when
// it comes back: they have their time from then.
func TestLateWithoutTheSecret(t *testing.T) {
	t.Parallel()
	anHourAgo := time.Now().Add(-time.Hour)
	stuck := func(w *world, o client.Object) { w.pod(o, unready(anHourAgo)) }
	for name, test := range map[string]struct {
		kind      string
		meanwhile func(*world, client.Object)
	}{
		"Deployment misses its deadline": {"Deployment", func(w *world, o client.Object) { w.missesDeadline(o.(*appsv1.Deployment)) }},
		"Deployment crashes":             {"Deployment", func(w *world, o client.Object) { w.pod(o, crashing(anHourAgo)) }},
		"StatefulSet stands still":       {"StatefulSet", stuck},
		"DaemonSet stands still":         {"DaemonSet", stuck},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, op := newRunningWorld(t)
			object, workload := w.rolling(ofEachKind[test.kind])
			w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
			w.delete(w.account())
			w.isGone("payments")
			w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonServiceAccountNotFound)
			test.meanwhile(w, workload)
			// The API server tells to the second when the Secret was made.
			w.eventually(func() string {
				if since := refreshed(w, object).Status.Workloads[0].RollingSince; time.Now().Unix() <= since.Unix() {
					return "the second in which the rollout began is not over"
				}
				return ""
			})
			w.createAccount("api")
			w.holds("payments", map[string]string{"value": "two"})
			w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
			w.reconciled(op, object)
			w.isNotRefused(object, "two")
			if got := object.Status.Workloads[0].RollingSince; got == nil {
				t.Error("the rollout is watched no more")
			}
		})
	}
}

// stampOf waits until the Secret of object holds value, and is the stamp of that.
func (w *world) stampOf(object *vaultv1alpha1.VaultSecret, value string) string {
	w.t.Helper()
	w.holds(object.Name, map[string]string{"value": value})
	return w.secret(object.Name).Annotations[vaultv1alpha1.ChecksumAnnotation]
}

// complete writes the status of a workload all of whose pods run.
func (w *world) complete(obj client.Object) {
	w.t.Helper()
	switch o := refreshed(w, obj).(type) {
	case *appsv1.Deployment:
		w.rolledOut(o)
		return
	case *appsv1.StatefulSet:
		o.Status = appsv1.StatefulSetStatus{ObservedGeneration: o.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1}
	case *appsv1.DaemonSet:
		o.Status = appsv1.DaemonSetStatus{ObservedGeneration: o.Generation, DesiredNumberScheduled: 1, CurrentNumberScheduled: 1,
			UpdatedNumberScheduled: 1, NumberReady: 1, NumberAvailable: 1}
	}
	if err := w.client.Status().Update(context.Background(), obj); err != nil {
		w.t.Fatal(err)
	}
}

// With Hold one workload is rolled after the other, none after one that failed, and a
// newer version starts anew.
func TestHold(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Rollout.OnFailure = vaultv1alpha1.OnFailureHold
	})
	a, b, c := w.deployment("a", envFrom("payments")), w.deployment("b", envFrom("payments")), w.deployment("c", envFrom("payments"))
	w.ready(w.rolledOutFirst(object, a, b, c))

	w.rotate(database, "two")
	two := w.stampOf(object, "two")
	w.stampIs(a, "payments", two)
	w.holding(object, "its turn comes when the rollout of Deployment/a has succeeded", "b", "c")
	w.rolledOut(a)
	w.stampIs(b, "payments", two)
	w.holding(object, "its turn comes when the rollout of Deployment/b has succeeded", "c")
	w.missesDeadline(b)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRolloutFailed)
	w.holding(object, "held, since the rollout of Deployment/b failed", "c")
	w.reconciled(op, object)
	w.stampIs(c, "payments", "")
	w.holds("payments", map[string]string{"value": "two"})
	if object.Status.Rejected != nil || object.Status.LastGood != nil {
		t.Errorf("with Hold the status has %+v and %+v", object.Status.Rejected, object.Status.LastGood)
	}

	w.rotate(database, "three")
	three := w.stampOf(object, "three")
	for _, d := range []*appsv1.Deployment{a, b, c} {
		w.stampIs(d, "payments", three)
		w.rolledOut(d)
	}
	w.ready(object)
}

// holding waits until exactly these Deployments are Pending, for what is said.
func (w *world) holding(object *vaultv1alpha1.VaultSecret, said string, names ...string) {
	w.t.Helper()
	w.eventually(func() string {
		var got []string
		for _, s := range refreshed(w, object).Status.Workloads {
			if s.State == vaultv1alpha1.WorkloadPending && strings.Contains(s.Message, said) {
				got = append(got, s.Name)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(names) {
			return fmt.Sprintf("%v are held since %q, want %v; the workloads are %+v", got, said, names, object.Status.Workloads)
		}
		return ""
	})
}

// With Ignore a failed rollout is told and nothing else: the others go on.
func TestIgnore(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.Rollout.OnFailure = vaultv1alpha1.OnFailureIgnore
	})
	a, b := w.deployment("a", envFrom("payments")), w.deployment("b", envFrom("payments"))
	w.ready(w.rolledOutFirst(object, a, b))
	w.rotate(database, "two")
	two := w.stampOf(object, "two")
	w.stampIs(a, "payments", two)
	w.stampIs(b, "payments", two)
	w.missesDeadline(a)
	w.crashingPod(b)
	w.rolledOut(b)
	w.workloadsAre(object, deploymentIn("a", vaultv1alpha1.WorkloadFailed), deploymentIn("b", vaultv1alpha1.WorkloadCurrent))
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRolloutFailed)
	w.reconciled(op, object)
	w.holds("payments", map[string]string{"value": "two"})
	w.stampIs(a, "payments", two)
	if object.Status.Rejected != nil || object.Status.LastGood != nil {
		t.Errorf("with Ignore the status has %+v and %+v", object.Status.Rejected, object.Status.LastGood)
	}
}

// hasNoWayBack waits until the status says why the Secret stays, though the rollout failed.
func (w *world) hasNoWayBack(object *vaultv1alpha1.VaultSecret, want string) {
	w.t.Helper()
	w.eventually(func() string {
		refreshed(w, object)
		if said := rolledOutMessage(object); !strings.HasPrefix(said, "False/RolloutFailed") || !strings.Contains(said, want) {
			return fmt.Sprintf("RolledOut is %q, want %q", said, want)
		}
		return ""
	})
	if object.Status.Rejected != nil {
		w.t.Errorf("refused is %+v", object.Status.Rejected)
	}
}

// Where there is nothing to go back to, the Secret stays and the status says why.
func TestNoWayBack(t *testing.T) {
	t.Parallel()
	t.Run("the version is destroyed", func(t *testing.T) {
		t.Parallel()
		w, op := newRunningWorld(t)
		engine, path := w.vault.Engine, vaulttest.Path(t, database)
		object, d := w.rotatedOnce()
		must(t, engine.DestroyVersions(t.Context(), w.vault.Admin, path, 1))
		w.missesDeadline(d)
		w.hasNoWayBack(object, "it cannot be rolled back: the last good "+database+" version 1 is destroyed")
		w.reconciled(op, object)
		w.holds("payments", map[string]string{"value": "two"})
	})
	t.Run("the version is deleted", func(t *testing.T) {
		t.Parallel()
		w, _ := newRunningWorld(t)
		engine, path := w.vault.Engine, vaulttest.Path(t, database)
		object, d := w.rotatedOnce()
		must(t, engine.DeleteVersions(t.Context(), w.vault.Admin, path, 1))
		w.missesDeadline(d)
		w.hasNoWayBack(object, "coffer undelete "+database+" --version 1")
		must(t, engine.UndeleteVersions(t.Context(), w.vault.Admin, path, 1))
		w.isBack(object, "one", 1)
	})
	t.Run("destroyed after it went back", func(t *testing.T) {
		t.Parallel()
		w, op := newRunningWorld(t)
		engine, path := w.vault.Engine, vaulttest.Path(t, database)
		object, d := w.rotatedOnce()
		w.missesDeadline(d)
		w.isBack(object, "one", 1)
		w.stampIs(d, "payments", "")
		w.rolledOut(d)
		must(t, engine.DestroyVersions(t.Context(), w.vault.Admin, path, 1))
		w.triesAgain(object, d, "the last good "+database+" version 1 is destroyed")
		w.missesDeadline(d)
		w.hasNoWayBack(object, "it cannot be rolled back: the last good "+database+" version 1 is destroyed")
		w.reconciled(op, object)
		change(w, w.secret("payments"), func(s *corev1.Secret) { s.Data["value"] = []byte("edited") })
		w.holds("payments", map[string]string{"value": "two"})
		if got := op.counter(t, "coffer_rollouts_rolled_back_total"); got != 1 {
			t.Errorf("%d rollbacks are counted, want 1", got)
		}
	})
	t.Run("deleted after it went back", func(t *testing.T) {
		t.Parallel()
		w, _ := newRunningWorld(t)
		engine, path := w.vault.Engine, vaulttest.Path(t, database)
		object, d := w.rotatedOnce()
		w.missesDeadline(d)
		w.isBack(object, "one", 1)
		w.stampIs(d, "payments", "")
		w.rolledOut(d)
		must(t, engine.DeleteVersions(t.Context(), w.vault.Admin, path, 1))
		w.triesAgain(object, d, "coffer undelete "+database+" --version 1")
		must(t, engine.UndeleteVersions(t.Context(), w.vault.Admin, path, 1))
		w.missesDeadline(d)
		w.isBack(object, "one", 1)
	})
	t.Run("never ran", func(t *testing.T) {
		t.Parallel()
		w, _ := newRunningWorld(t)
		w.put(database, "one")
		object := w.ofPath("payments", database)
		w.holds("payments", map[string]string{"value": "one"})
		d := w.deployment("api", envFrom("payments"))
		w.rotate(database, "two")
		w.stamped(d, "payments")
		w.missesDeadline(d)
		w.hasNoWayBack(object, "never ran")
	})
	t.Run("the spec is another", func(t *testing.T) {
		t.Parallel()
		w, _ := newRunningWorld(t)
		w.put(database, "one")
		object := w.ofPath("payments", database)
		d := w.deployment("api", envFrom("payments"))
		w.ready(w.rolledOutFirst(object, d))
		change(w, object, func(o *vaultv1alpha1.VaultSecret) {
			o.Spec.Target.Template = map[string]string{"value": "t-{{ .value }}"}
		})
		w.holds("payments", map[string]string{"value": "t-one"})
		w.stamped(d, "payments")
		w.missesDeadline(d)
		w.hasNoWayBack(object, "what the spec makes of the versions was changed")
	})
}

// triesAgain waits until version two, which was refused, is in the Secret and rolled
// again, and an event says why.
func (w *world) triesAgain(object *vaultv1alpha1.VaultSecret, d *appsv1.Deployment, why string) {
	w.t.Helper()
	w.holds("payments", map[string]string{"value": "two"})
	w.stamped(d, "payments")
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
	w.isNotRefused(object, "two")
	w.saysLastGoodLost(object, why)
}

// saysLastGoodLost waits for the event that says why version two is tried again.
func (w *world) saysLastGoodLost(object *vaultv1alpha1.VaultSecret, why string) {
	w.t.Helper()
	said := w.hasEvent(object, vaultv1alpha1.EventLastGoodLost)
	for _, want := range []string{why, "so the Secret does not keep it", database + " version 2 is tried again"} {
		if !strings.Contains(said, want) {
			w.t.Errorf("the event does not say %q: %s", want, said)
		}
	}
}

// askAgainUntil makes the operator look by an annotation of no meaning until ok says "".
func (w *world) askAgainUntil(object *vaultv1alpha1.VaultSecret, ok func() string) {
	w.t.Helper()
	n := 0
	w.eventually(func() string {
		n++
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Annotations = map[string]string{"again": fmt.Sprint(n)} })
		return ok()
	})
}

// Who may write the status of a VaultSecret, and not its spec, cannot choose the version
// that is served.
func TestForgedRollback(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	w.rotate(database, "two")
	w.holds("payments", map[string]string{"value": "two"})
	spec, err := vaultsecret.SpecChecksum(refreshed(w, object))
	must(t, err)
	forged, err := json.Marshal(map[string]any{"status": map[string]any{
		"rejected": vaultv1alpha1.RejectedContent{
			Sources: []vaultv1alpha1.SourceVersion{{Path: database, Version: 2}}, RejectedAt: metav1.Now(), Message: "forged",
			SpecChecksum: spec,
		},
		"lastGood": vaultv1alpha1.GoodContent{Sources: []vaultv1alpha1.SourceVersion{{Path: database, Version: 1}}, Inputs: "forged", Checksum: "forged"},
	}})
	must(t, err)
	must(t, w.client.Status().Patch(context.Background(), object.DeepCopy(), client.RawPatch(types.MergePatchType, forged)))
	w.askAgainUntil(object, func() string {
		if refreshed(w, object).Status.Rejected != nil {
			return "what is forged is believed"
		}
		return ""
	})
	w.holds("payments", map[string]string{"value": "two"})
}

// Two Secrets that changed in one rollout go back in one, also when only pods tell of
// it and only one of them looks at these soon, and to the very template; one that did
// not change stays.
func TestSeveralRollBackTogether(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	trio := newTrio(w, 3*time.Second)
	for _, object := range trio.objects {
		w.knownGood(object, 1)
	}
	for _, name := range trioNames[:2] {
		w.rotate(folder+name, "second")
	}
	for i, name := range trioNames[:2] {
		w.stampIs(trio.deployment, name, w.stampOf(trio.objects[i], "second"))
	}
	for _, object := range trio.objects[:2] {
		w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
	}
	op.stop()
	late := refreshed(w, trio.objects[1])
	since := metav1.NewMicroTime(time.Now().Add(-time.Hour).Truncate(time.Microsecond))
	late.Status.Workloads[0].RollingSince = &since // which is looked at every half minute
	if err := w.client.Status().Update(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	again := w.startOperator()
	w.eventually(func() string {
		if got := again.syncs(t, "Unchanged"); got < len(trioNames) {
			return fmt.Sprintf("the new operator has looked %d times", got)
		}
		return ""
	})
	w.crashingPod(trio.deployment)
	for i, object := range trio.objects[:2] {
		w.isBack(object, "first", 1)
		w.stampIs(trio.deployment, trioNames[i], "")
	}
	if got := refreshed(w, trio.deployment).Generation; got != 3 {
		t.Errorf("the Deployment was changed %d times, want forth and back", got-1)
	}
	w.rolledOut(trio.deployment)
	w.ready(trio.objects[2])
}

// stoppedInARollback makes a Deployment that is stamped with bad for version two, which is
// refused, and no operator; decided is the status as the run leaves it that decided,
// before anything else is written.
func (w *world) stoppedInARollback(op *operator) (object *vaultv1alpha1.VaultSecret, d *appsv1.Deployment, bad string, decided vaultv1alpha1.VaultSecretStatus) {
	w.t.Helper()
	object, workload := w.rolling(ofEachKind["Deployment"])
	bad = w.stampOf(object, "two")
	w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
	op.stop()
	spec, err := vaultsecret.SpecChecksum(refreshed(w, object))
	must(w.t, err)
	decided = *object.Status.DeepCopy()
	decided.Workloads[0].State, decided.Workloads[0].Message = vaultv1alpha1.WorkloadFailed, "it crashes"
	decided.Rejected = &vaultv1alpha1.RejectedContent{
		Sources: []vaultv1alpha1.SourceVersion{{Path: database, Version: 2}}, RejectedAt: metav1.Now(),
		Message: "the rollout of Deployment/x failed: it crashes", SpecChecksum: spec,
	}
	return object, workload.(*appsv1.Deployment), bad, decided
}

// putStatus writes the status, as an operator would have.
func (w *world) putStatus(object *vaultv1alpha1.VaultSecret, status vaultv1alpha1.VaultSecretStatus) {
	w.t.Helper()
	refreshed(w, object)
	object.Status = *status.DeepCopy()
	must(w.t, w.client.Status().Update(context.Background(), object))
}

// An operator that dies in the middle of a rollback leaves behind what the next one
// needs to finish it, wherever it was.
func TestRollbackIsFinished(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	object, d, bad, decided := w.stoppedInARollback(op)
	resume := func(t *testing.T) {
		t.Helper()
		w.putStatus(object, decided)
		next := w.startOperator()
		w.isBack(object, "one", 1)
		w.stampIs(d, "payments", "")
		w.workloadsAre(object, deploymentIn("x", vaultv1alpha1.WorkloadRollingOut))
		next.stop()
	}
	t.Run("decided", resume)
	t.Run("the Secret is written", func(t *testing.T) {
		change(w, d, func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{rollout.StampAnnotation("payments"): bad}
		})
		resume(t)
	})
	t.Run("the workload is stamped", func(t *testing.T) {
		before := refreshed(w, d).Generation
		resume(t)
		if got := refreshed(w, d).Generation; got != before {
			t.Error("the workload was changed again")
		}
	})
}

// A VaultSecret that is suspended in the middle of a rollback goes on with it when it is
// resumed. Neither that nor any change of its spec that makes nothing else of the versions
// has the bad one tried again.
func TestRollbackOutlivesTheSpec(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	object, d, bad, decided := w.stoppedInARollback(op)
	suspend := func(on bool) {
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Suspend = on })
	}
	suspend(true)
	w.putStatus(object, decided)
	op = w.startOperator()
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSuspended)
	w.holds("payments", map[string]string{"value": "two"})
	w.stampIs(d, "payments", bad)

	suspend(false)
	w.isBack(object, "one", 1)
	w.stampIs(d, "payments", "")
	w.rolledOut(d)
	w.workloadsAre(object, deploymentIn("x", vaultv1alpha1.WorkloadCurrent))
	for name, f := range map[string]func(*vaultv1alpha1.VaultSecretSpec){
		"refreshInterval": func(s *vaultv1alpha1.VaultSecretSpec) { s.RefreshInterval = &metav1.Duration{Duration: 2 * time.Hour} },
		"targets": func(s *vaultv1alpha1.VaultSecretSpec) {
			s.Rollout.Targets = []vaultv1alpha1.RolloutTarget{{Kind: vaultv1alpha1.WorkloadDeployment, Name: "x"}}
		},
		"labels":         func(s *vaultv1alpha1.VaultSecretSpec) { s.Target.Labels = map[string]string{"team": "payments"} },
		"suspended":      func(s *vaultv1alpha1.VaultSecretSpec) { s.Suspend = true },
		"deletionPolicy": func(s *vaultv1alpha1.VaultSecretSpec) { s.DeletionPolicy = vaultv1alpha1.DeletionRetain },
	} {
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { f(&o.Spec) })
		if name == "suspended" {
			w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSuspended)
			suspend(false)
		}
		w.isBack(object, "one", 1)
	}
	if got := refreshed(w, d).Generation; got != 3 {
		t.Errorf("the Deployment was changed %d times, want forth and back", got-1)
	}
	if got := op.engine.reads.Load(); got != 1 {
		t.Errorf("the vault was read %d times, want once for the rollback", got)
	}

	change(w, object, func(o *vaultv1alpha1.VaultSecret) {
		o.Spec.Target.Template = map[string]string{"value": "t-{{ .value }}"}
	})
	w.holds("payments", map[string]string{"value": "t-two"})
	w.refusesNothing(object) // the Secret is written before the status
}

// refusesNothing waits until the status says that nothing is refused.
func (w *world) refusesNothing(object *vaultv1alpha1.VaultSecret) {
	w.t.Helper()
	w.eventually(func() string {
		if got := refreshed(w, object).Status.Rejected; got != nil {
			return fmt.Sprintf("refused is %+v", got)
		}
		return ""
	})
}

// A status from before there was the checksum of the spec neither stops the operator nor
// keeps anything refused for ever.
func TestRefusalOfBefore(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	object, _, _, decided := w.stoppedInARollback(op)
	decided.Rejected.SpecChecksum = ""
	w.putStatus(object, decided)
	w.startOperator()
	w.refusesNothing(object)
	w.holds("payments", map[string]string{"value": "two"})
}

// Content of many paths goes back as a whole: what prefixes gave, with what the spec
// pins; where a path is gone meanwhile there is no way back.
func TestManyPathsRollBack(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	w.rotate(database, "two")
	w.put("production/partners/a", "a1")
	w.put("production/partners/b", "b1")
	object := w.vaultSecret("payments", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.DataFrom = []vaultv1alpha1.VaultSecretDataFrom{{Prefix: "production/partners/"}}
		s.Data = []vaultv1alpha1.VaultSecretData{{Key: "previous", Path: database, Version: 1}}
	})
	d := w.deployment("api", envFrom("payments"))
	w.ready(w.rolledOutFirst(object, d))
	good := map[string]string{"value": "two", "previous": "one", "a": "a1", "b": "b1"}
	w.holds("payments", good)

	w.rotate(database, "three")
	w.rotate("production/partners/b", "b2")
	w.holds("payments", map[string]string{"value": "three", "previous": "one", "a": "a1", "b": "b2"})
	w.stamped(d, "payments")
	w.missesDeadline(d)
	w.holds("payments", good)
	w.stampIs(d, "payments", "")
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonRolledBack)
	said := rolledOutMessage(object)
	for _, want := range []string{
		"back to " + database + " version 2, production/partners/b version 1;", database + " version 3, production/partners/b version 2 is refused",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("RolledOut does not say %q: %s", want, said)
		}
	}
	if object.Status.Version != 2 {
		t.Errorf("the status says version %d", object.Status.Version)
	}

	// What may be read no more is not kept for the sake of what worked.
	must(t, w.vault.Engine.Delete(t.Context(), w.vault.Admin, vaulttest.Path(t, "production/partners/a")))
	w.holds("payments", map[string]string{"value": "three", "previous": "one", "b": "b2"})
	w.stamped(d, "payments")
	w.missesDeadline(d)
	w.eventually(func() string {
		refreshed(w, object)
		if said := rolledOutMessage(object); !strings.HasPrefix(said, "False/RolloutFailed") || !strings.Contains(said, "cannot be read any more") {
			return "RolledOut is " + said
		}
		return ""
	})
}

// Two operators at once decide once and roll once; what somebody puts over the last good
// content is undone with that, and not with what is refused.
func TestTwoOperatorsRollBack(t *testing.T) {
	t.Parallel()
	w, first := newRunningWorld(t)
	second := w.startOperator()
	w.put(database, "one")
	object := w.ofPath("payments", database)
	d := w.deployment("api", envFrom("payments"))
	w.ready(w.rolledOutFirst(object, d))
	w.knownGood(object, 1)
	w.rotate(database, "two")
	w.stampIs(d, "payments", w.stampOf(object, "two"))
	w.missesDeadline(d)
	w.isBack(object, "one", 1)
	w.stampIs(d, "payments", "")
	w.rolledOut(d)
	w.workloadsAre(object, deploymentIn("api", vaultv1alpha1.WorkloadCurrent))

	s := w.secret("payments")
	change(w, s, func(s *corev1.Secret) { s.Data["value"] = []byte("edited") })
	w.isBack(object, "one", 1)
	if got := refreshed(w, d).Generation; got != 3 {
		t.Errorf("the Deployment was changed %d times, want forth and back", got-1)
	}
	const metric = "coffer_rollouts_rolled_back_total"
	if got := first.counter(t, metric) + second.counter(t, metric); got != 1 {
		t.Errorf("%d rollbacks are counted, want 1", got)
	}
}
