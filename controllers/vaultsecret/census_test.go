package vaultsecret

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// counted is a VaultSecret made at noon whose conditions have this reason since a
// minute later, with Secret in step where synced; none when the reason is empty.
func counted(name, reason string, synced bool) *vaultv1alpha1.VaultSecret {
	object := &vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{
		Namespace: "payments", Name: name, Generation: 1, CreationTimestamp: metav1.NewTime(noon),
	}}
	if reason == "" {
		return object
	}
	object.Status.ObservedGeneration = 1
	since := metav1.NewTime(noon.Add(time.Minute))
	status := metav1.ConditionFalse
	if synced {
		status = metav1.ConditionTrue
	}
	object.Status.Conditions = []metav1.Condition{
		{Type: vaultv1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason, LastTransitionTime: since},
		{Type: vaultv1alpha1.ConditionSynced, Status: status, Reason: reason, LastTransitionTime: since},
	}
	return object
}

// tally is what a scrape of c gets: the values of both metrics by reason.
func tally(t *testing.T, c *census) (objects, unsynced map[string]float64) {
	t.Helper()
	if len(collected(t, c)) == 0 {
		return map[string]float64{}, map[string]float64{}
	}
	return byReason(collected(t, c.objects)), byReason(collected(t, c.unsynced))
}

func byReason(metrics []*dto.Metric) map[string]float64 {
	values := map[string]float64{}
	for _, metric := range metrics {
		values[metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
	}
	return values
}

func leading() <-chan struct{} {
	elected := make(chan struct{})
	close(elected)
	return elected
}

// The census follows each VaultSecret through its states, and forgets it with it.
func TestCensus(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(noon.Add(10 * time.Minute))
	changes := newPropagation()
	c := newCensus(clock, leading(), changes)
	check := func(what string, wantObjects, wantUnsynced map[string]float64) {
		t.Helper()
		objects, unsynced := tally(t, c)
		if diff := cmp.Diff(wantObjects, objects); diff != "" {
			t.Errorf("%s: VaultSecrets by reason (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff(wantUnsynced, unsynced); diff != "" {
			t.Errorf("%s: seconds by reason (-want +got):\n%s", what, diff)
		}
	}
	none := map[string]float64{}
	check("nothing", none, none)

	fresh, denied := counted("a", "", false), counted("b", vaultv1alpha1.ReasonDenied, false)
	c.OnAdd(fresh, true)
	c.OnAdd(denied, false)
	check("a new and a denied one", map[string]float64{"Waiting": 1, "Denied": 1}, map[string]float64{"Waiting": 600, "Denied": 540})

	synced := counted("a", vaultv1alpha1.ReasonSynced, true)
	c.OnUpdate(fresh, synced)
	check("synced", map[string]float64{"Synced": 1, "Denied": 1}, map[string]float64{"Denied": 540})

	rolling := counted("a", vaultv1alpha1.ReasonRollingOut, true)
	c.OnUpdate(synced, rolling)
	check("a rollout is no lag of the Secret", map[string]float64{"RollingOut": 1, "Denied": 1}, map[string]float64{"Denied": 540})

	edited := counted("a", vaultv1alpha1.ReasonRollingOut, true)
	edited.Generation = 2
	c.OnUpdate(rolling, edited)
	clock.SetTime(noon.Add(11 * time.Minute))
	again := edited.DeepCopy()
	again.Generation = 3
	c.OnUpdate(edited, again)
	check("a changed spec, and again", map[string]float64{"RollingOut": 1, "Denied": 1}, map[string]float64{"Waiting": 60, "Denied": 600})

	suspended := counted("a", vaultv1alpha1.ReasonSuspended, false)
	suspended.Spec.Suspend = true
	c.OnUpdate(again, suspended)
	check("nobody waits for a suspended one", map[string]float64{"Suspended": 1, "Denied": 1}, map[string]float64{"Denied": 600})

	changes.enqueued(types.NamespacedName{Name: "x"}, noon.Add(10*time.Minute))
	check("a change on its way", map[string]float64{"Suspended": 1, "Denied": 1}, map[string]float64{"Waiting": 60, "Denied": 600})
	changes.forget(types.NamespacedName{Name: "x"})

	foreign := counted("b", "SomebodysOwn", false)
	c.OnUpdate(denied, foreign)
	check("a reason that nobody knows", map[string]float64{"Suspended": 1, "Other": 1}, map[string]float64{"Other": 600})

	c.OnDelete(suspended)
	c.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "payments/b", Obj: foreign})
	check("gone", none, none)
	if len(c.reasons)+len(c.lags) > 0 {
		t.Errorf("the census keeps %v and %v", c.reasons, c.lags)
	}
}

// Those of a path that is to be rotated by its reminder are counted, however ready they are.
func TestCensusCountsDueRotations(t *testing.T) {
	c := newCensus(clocktesting.NewFakePassiveClock(noon), leading(), newPropagation())
	is := func(what string, want float64) {
		t.Helper()
		collected(t, c)
		if got := collected(t, c.due)[0].GetGauge().GetValue(); got != want {
			t.Errorf("%s: %v are due, want %v", what, got, want)
		}
	}
	turned := func(object *vaultv1alpha1.VaultSecret, status metav1.ConditionStatus) *vaultv1alpha1.VaultSecret {
		object = object.DeepCopy()
		meta.SetStatusCondition(&object.Status.Conditions, metav1.Condition{Type: vaultv1alpha1.ConditionRotationDue, Status: status, Reason: "Any"})
		return object
	}
	plain := counted("a", vaultv1alpha1.ReasonSynced, true)
	early, late := turned(plain, metav1.ConditionFalse), turned(plain, metav1.ConditionTrue)
	other := turned(counted("b", vaultv1alpha1.ReasonDenied, false), metav1.ConditionTrue)
	is("nothing", 0)
	c.OnAdd(plain, true)
	c.OnUpdate(plain, early)
	is("one that is not due", 0)
	c.OnUpdate(early, late)
	c.OnUpdate(late, late)
	c.OnAdd(other, false)
	is("two that are", 2)
	c.OnUpdate(late, early)
	is("one was rotated", 1)
	c.OnDelete(toolscache.DeletedFinalStateUnknown{Key: "payments/b", Obj: other})
	is("the other is gone", 0)
}

// Of several replicas only the leader tells, so that a sum counts each once.
func TestCensusOfAFollowerIsSilent(t *testing.T) {
	c := newCensus(clocktesting.NewFakePassiveClock(noon), make(chan struct{}), newPropagation())
	c.OnAdd(counted("a", vaultv1alpha1.ReasonDenied, false), true)
	if metrics := collected(t, c); len(metrics) > 0 {
		t.Errorf("a follower tells %v", metrics)
	}
}

// Each reason that the API knows is one that the census tells, but those that no
// VaultSecret's Ready or Synced has.
func TestCensusKnowsEveryReason(t *testing.T) {
	elsewhere := map[string]bool{ // of VaultPolicies, ClusterVaultSecrets and VaultRotations, and of RolledOut and RotationDue alone
		vaultv1alpha1.ReasonNoNamespaces: true, vaultv1alpha1.ReasonNamespacesNotReady: true, vaultv1alpha1.ReasonProgressing: true,
		vaultv1alpha1.ReasonVaultSecretNotOwned: true, vaultv1alpha1.ReasonVaultSecretWriteFailed: true,
		vaultv1alpha1.ReasonEnforced: true, vaultv1alpha1.ReasonBlocked: true, vaultv1alpha1.ReasonRolledOut: true,
		vaultv1alpha1.ReasonNoWorkloads: true, vaultv1alpha1.ReasonRolloutDisabled: true, vaultv1alpha1.ReasonWorkloadNotFound: true,
		vaultv1alpha1.ReasonRotationOverdue: true, vaultv1alpha1.ReasonRotationNotDue: true, vaultv1alpha1.ReasonScheduled: true,
		vaultv1alpha1.ReasonRotating: true, vaultv1alpha1.ReasonWaitsForApproval: true, vaultv1alpha1.ReasonRotationFailed: true,
		vaultv1alpha1.ReasonOverdue: true, vaultv1alpha1.ReasonPathTaken: true,
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/v1alpha1/conditions.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		found++
		if stateReasons[reason] == elsewhere[reason] {
			t.Errorf("%s: either in stateReasons, or elsewhere", spec.Names[0].Name)
		}
		return true
	})
	if found < 20 {
		t.Errorf("only %d reasons found", found)
	}
}
