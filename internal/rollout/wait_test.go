package rollout

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func second(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }

// Each change makes a workload wait anew, five debounces from the first at most.
func TestWaitOfOneSecret(t *testing.T) {
	const debounce = 2 * time.Second
	var status vaultv1alpha1.WorkloadStatus
	for at := 0; at <= 9; at++ {
		status = pending(vaultv1alpha1.WorkloadStatus{}, status, true, debounce, second(at))
		want := min(at+2, 10)
		if got := due(WaitOf(status, debounce), nil); !got.Equal(second(want)) {
			t.Fatalf("after a change at %d s the workload rolls at %v, want %d s", at, got, want)
		}
		again := pending(vaultv1alpha1.WorkloadStatus{}, status, false, debounce, second(at+1))
		if diff := cmp.Diff(status, again); diff != "" {
			t.Fatalf("a look without a change makes the wait another (-before +after):\n%s", diff)
		}
	}
}

// What an operator with a clock ahead wrote, and a debounce made shorter, delay nothing
// beyond the debounce; what is not Pending has no past.
func TestWaitIsBounded(t *testing.T) {
	ahead := vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadPending, PendingSince: microTime(second(3600)), NotBefore: microTime(second(3602))}
	for name, last := range map[string]vaultv1alpha1.WorkloadStatus{
		"clock ahead": ahead,
		"no times":    {State: vaultv1alpha1.WorkloadPending},
		"rolling":     {State: vaultv1alpha1.WorkloadRollingOut, PendingSince: microTime(second(-60)), NotBefore: microTime(second(-58))},
	} {
		status := pending(vaultv1alpha1.WorkloadStatus{}, last, false, 2*time.Second, noon)
		want := Wait{NotBefore: second(2), Latest: second(10)}
		if diff := cmp.Diff(want, WaitOf(status, 2*time.Second)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if status := pending(vaultv1alpha1.WorkloadStatus{}, ahead, false, 0, noon); !due(WaitOf(status, 0), nil).Equal(noon) {
		t.Error("a debounce of 0s waits")
	}
}

// The last of several Secrets decides when their workload rolls, and the first that
// cannot wait any longer.
func TestDueOfSeveral(t *testing.T) {
	wait := func(notBefore, latest int) *Wait { return &Wait{NotBefore: second(notBefore), Latest: second(latest)} }
	own := *wait(2, 10)
	for name, test := range map[string]struct {
		peers []Peer
		want  int
	}{
		"alone":                      {nil, 2},
		"one that does not wait":     {[]Peer{{}}, 2},
		"one that changed earlier":   {[]Peer{{Wait: wait(1, 9)}}, 2},
		"one that changed later":     {[]Peer{{Wait: wait(3, 11)}, {Wait: wait(1, 9)}}, 3},
		"one that may wait long":     {[]Peer{{Wait: wait(60, 300)}}, 10},
		"one that cannot wait":       {[]Peer{{Wait: wait(60, 300)}, {Wait: wait(0, 0)}}, 0},
		"one that wrote nothing yet": {[]Peer{{Wait: &Wait{}}}, -1},
	} {
		got := due(own, test.peers)
		if test.want < 0 && got.After(noon) || test.want >= 0 && !got.Equal(second(test.want)) {
			t.Errorf("%s: rolls at %v, want %d s", name, got, test.want)
		}
	}
}

// The stamps that go in one write are the Secret's, and those that are owed or old.
func TestStampsOf(t *testing.T) {
	d := &appsv1.Deployment{}
	d.Spec.Template.Annotations = map[string]string{StampAnnotation("old"): "1", StampAnnotation("same"): "1"}
	w, _ := FromObject(d)
	got := stampsOf(w, Content{Secret: "own", Checksum: "2"}, []Peer{
		{Secret: "old", Checksum: "2"}, {Secret: "same", Checksum: "1", Owed: true}, {Secret: "owed", Checksum: "2", Owed: true}, {Secret: "first", Checksum: "1"},
	})
	want := map[string]*string{StampAnnotation("own"): new("2"), StampAnnotation("old"): new("2"), StampAnnotation("owed"): new("2")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stamps (-want +got):\n%s", diff)
	}
}

// A workload is selected by its use of the Secret, or only by what names it; what the
// cache keeps is enough to tell.
func TestSelects(t *testing.T) {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "api", Labels: map[string]string{"team": "payments"}}}
	d.Spec.Template.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "used"}}
	stripped, err := Strip(d)
	if err != nil {
		t.Fatal(err)
	}
	w, _ := FromObject(stripped.(*appsv1.Deployment))
	team := func(values ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: metav1.LabelSelectorOpIn, Values: values}}}
	}
	target := func(kind vaultv1alpha1.WorkloadKind, name string) []vaultv1alpha1.RolloutTarget {
		return []vaultv1alpha1.RolloutTarget{{Kind: kind, Name: name}}
	}
	for name, test := range map[string]struct {
		spec   vaultv1alpha1.VaultSecretRollout
		secret string
		want   bool
	}{
		"uses it":                    {vaultv1alpha1.VaultSecretRollout{}, "used", true},
		"does not use it":            {vaultv1alpha1.VaultSecretRollout{}, "other", false},
		"target":                     {vaultv1alpha1.VaultSecretRollout{Targets: target("Deployment", "api")}, "other", true},
		"target of another kind":     {vaultv1alpha1.VaultSecretRollout{Targets: target("DaemonSet", "api")}, "used", false},
		"target of another name":     {vaultv1alpha1.VaultSecretRollout{Targets: target("Deployment", "web")}, "used", false},
		"labels":                     {vaultv1alpha1.VaultSecretRollout{Selector: team("payments", "web")}, "other", true},
		"other labels":               {vaultv1alpha1.VaultSecretRollout{Selector: team("web")}, "used", false},
		"labels and another target":  {vaultv1alpha1.VaultSecretRollout{Selector: team("payments"), Targets: target("Deployment", "web")}, "other", true},
		"target beside other labels": {vaultv1alpha1.VaultSecretRollout{Selector: team("web"), Targets: target("Deployment", "api")}, "other", true},
	} {
		selection, err := SelectionOf(&test.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := selection.Selects(w, test.secret); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if _, err := SelectionOf(&vaultv1alpha1.VaultSecretRollout{Selector: team("a b")}); err == nil {
		t.Error("a label that cannot be is taken")
	}
}
