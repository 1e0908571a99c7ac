package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// stampedMeta is that of a template, or a pod, with the stamp "new" for the Secret s.
func stampedMeta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Annotations: map[string]string{StampAnnotation("s"): "new"}, Labels: map[string]string{"app": "x"}}
}

var selectX = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}

func aDeployment(change func(*appsv1.Deployment)) Workload {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "d"}}
	d.Spec.Selector = selectX
	d.Spec.Template.ObjectMeta = stampedMeta()
	change(d)
	w, _ := FromObject(d)
	return w
}

func aStatefulSet(change func(*appsv1.StatefulSet)) Workload {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s"}}
	s.Spec.Selector = selectX
	s.Spec.Template.ObjectMeta = stampedMeta()
	change(s)
	w, _ := FromObject(s)
	return w
}

func completeDeployment(d *appsv1.Deployment) {
	d.Status = appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
}

func lateDeployment(d *appsv1.Deployment) {
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: reasonProgressDeadlineExceeded}}
}

// What makes a rollout of ours fail, succeed, or go on.
func TestJudge(t *testing.T) {
	rolling := aDeployment(func(*appsv1.Deployment) {})
	paused := aDeployment(func(d *appsv1.Deployment) { d.Spec.Paused = true })
	set := aStatefulSet(func(*appsv1.StatefulSet) {})
	daemon := &appsv1.DaemonSet{Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 1}}
	daemonSet, _ := FromObject(daemon)
	argo := func(phase string) Workload {
		u := newArgoRollout()
		u.Object["spec"] = map[string]any{"template": map[string]any{}}
		u.Object["status"] = map[string]any{"observedGeneration": "0", "phase": phase}
		w, _ := FromObject(u)
		return w
	}
	settled, working := sighting{settled: true}, sighting{}
	crash, stuck := sighting{crash: "it crashes"}, sighting{stuck: true}
	for name, test := range map[string]struct {
		w       Workload
		pods    sighting
		state   vaultv1alpha1.WorkloadState
		over    bool
		message string
	}{
		"rolling":                           {rolling, working, vaultv1alpha1.WorkloadRollingOut, false, ""},
		"complete":                          {aDeployment(completeDeployment), settled, vaultv1alpha1.WorkloadCurrent, true, ""},
		"complete, its pods are new":        {aDeployment(completeDeployment), working, vaultv1alpha1.WorkloadCurrent, false, ""},
		"complete, and crashes then":        {aDeployment(completeDeployment), crash, vaultv1alpha1.WorkloadFailed, false, "it crashes"},
		"crashes":                           {rolling, crash, vaultv1alpha1.WorkloadFailed, false, "it crashes"},
		"deadline":                          {aDeployment(lateDeployment), working, vaultv1alpha1.WorkloadFailed, false, "progress deadline"},
		"a Deployment has its own deadline": {rolling, stuck, vaultv1alpha1.WorkloadRollingOut, false, ""},
		"paused":                            {paused, working, vaultv1alpha1.WorkloadPaused, false, "paused"},
		"paused, and crashes":               {paused, crash, vaultv1alpha1.WorkloadFailed, false, "it crashes"},
		"StatefulSet":                       {set, working, vaultv1alpha1.WorkloadRollingOut, false, ""},
		"StatefulSet crashes":               {set, crash, vaultv1alpha1.WorkloadFailed, false, "it crashes"},
		"StatefulSet stands still":          {set, stuck, vaultv1alpha1.WorkloadFailed, false, "ten minutes"},
		"DaemonSet crashes":                 {daemonSet, crash, vaultv1alpha1.WorkloadFailed, false, "it crashes"},
		"DaemonSet stands still":            {daemonSet, stuck, vaultv1alpha1.WorkloadFailed, false, "ten minutes"},
		"Argo Rollout":                      {argo("Progressing"), stuck, vaultv1alpha1.WorkloadRollingOut, false, ""},
		"Argo Rollout degraded":             {argo(phaseDegraded), settled, vaultv1alpha1.WorkloadFailed, false, "degraded"},
		"Argo Rollout crashes":              {argo("Progressing"), crash, vaultv1alpha1.WorkloadFailed, false, "it crashes"},
	} {
		got := judge(test.w, test.pods, noon, false)
		if got.State != test.state || (got.RollingSince == nil) != test.over || !strings.Contains(got.Message, test.message) {
			t.Errorf("%s: %+v", name, got)
		}
		if want := test.state == vaultv1alpha1.WorkloadFailed; failed(got) != want {
			t.Errorf("%s: failed is %t", name, !want)
		}
	}
}

// pod is a new pod, made this many seconds before noon and changed by f.
func pod(age int, f func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{ObjectMeta: stampedMeta()}
	p.Namespace = "n"
	p.CreationTimestamp = metav1.NewTime(second(-age))
	if f != nil {
		f(&p)
	}
	return p
}

func readyFor(seconds int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(second(-seconds))}}
	}
}

func restarted(times, code int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", RestartCount: times,
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Message: "a value may stand here"}}}}
	}
}

func looping(p *corev1.Pod) {
	restarted(1, 3)(p)
	p.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "a value may stand here"}
}

func initLooping(p *corev1.Pod) {
	looping(p)
	p.Status.InitContainerStatuses, p.Status.ContainerStatuses = p.Status.ContainerStatuses, nil
	p.Status.InitContainerStatuses[0].Name = "migrate"
}

func waiting(reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
}

func both(fs ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, f := range fs {
			f(p)
		}
	}
}

// What is seen of the pods: only those of the present template count, and no text that a
// container left behind is repeated.
func TestSight(t *testing.T) {
	const says = "the container main of a new pod crashes with exit code 3; kubectl logs -n n -l app=x -c main --previous"
	old := func(p *corev1.Pod) { p.Annotations[StampAnnotation("s")] = "old" }
	leaving := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: noon} }
	for name, test := range map[string]struct {
		pods []corev1.Pod
		want sighting
	}{
		"none":                              {nil, sighting{settled: true}},
		"just made":                         {[]corev1.Pod{pod(1, nil)}, sighting{}},
		"ready since just now":              {[]corev1.Pod{pod(600, readyFor(29))}, sighting{}},
		"ready for a while":                 {[]corev1.Pod{pod(40, readyFor(30))}, sighting{settled: true}},
		"one of two":                        {[]corev1.Pod{pod(40, readyFor(30)), pod(1, nil)}, sighting{}},
		"not ready for long":                {[]corev1.Pod{pod(301, nil)}, sighting{settled: true}},
		"not ready for too long":            {[]corev1.Pod{pod(600, nil)}, sighting{settled: true, stuck: true}},
		"crash loop":                        {[]corev1.Pod{pod(20, looping)}, sighting{crash: says}},
		"crash loop of an init container":   {[]corev1.Pod{pod(20, initLooping)}, sighting{crash: strings.ReplaceAll(says, "main", "migrate")}},
		"one of two crashes":                {[]corev1.Pod{pod(40, readyFor(30)), pod(20, looping)}, sighting{crash: says}},
		"between two crashes":               {[]corev1.Pod{pod(20, both(restarted(2, 3), readyFor(1)))}, sighting{crash: says}},
		"started a second time":             {[]corev1.Pod{pod(20, restarted(1, 3))}, sighting{}},
		"restarted without a failure":       {[]corev1.Pod{pod(20, restarted(5, 0))}, sighting{}},
		"crashed, and works for a while":    {[]corev1.Pod{pod(90, both(restarted(2, 3), readyFor(30)))}, sighting{settled: true}},
		"cannot be made":                    {[]corev1.Pod{pod(20, waiting("CreateContainerConfigError"))}, sighting{}},
		"cannot pull":                       {[]corev1.Pod{pod(20, waiting("ImagePullBackOff"))}, sighting{}},
		"an old pod crashes":                {[]corev1.Pod{pod(20, both(looping, old))}, sighting{settled: true}},
		"a pod crashes that is on its way":  {[]corev1.Pod{pod(20, both(looping, leaving))}, sighting{settled: true}},
		"of another owner, without a stamp": {[]corev1.Pod{pod(20, func(p *corev1.Pod) { looping(p); p.Annotations = nil })}, sighting{settled: true}},
	} {
		w := aDeployment(func(*appsv1.Deployment) {})
		if diff := cmp.Diff(test.want, sight(w, "s", time.Time{}, test.pods, noon), cmp.AllowUnexported(sighting{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// ran says that the container began this many seconds before noon, each time it ended.
func ran(seconds int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, statuses := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for i := range statuses {
				statuses[i].LastTerminationState.Terminated.StartedAt = metav1.NewTime(second(-seconds))
			}
		}
	}
}

// Pods that could not start, or that crashed, while the Secret was not there are given
// their time from the moment at which it was back.
func TestSightAfterTheSecretCameBack(t *testing.T) {
	const back = 60 // seconds before noon
	const says = "the container main of a new pod crashes with exit code 3; kubectl logs -n n -l app=x -c main --previous"
	for name, test := range map[string]struct {
		pod  corev1.Pod
		now  time.Time
		want sighting
	}{
		"was late for long":              {pod(3600, nil), noon, sighting{}},
		"is late for a while":            {pod(3600, nil), second(300), sighting{settled: true}},
		"is late for long":               {pod(3600, nil), second(600 - back), sighting{settled: true, stuck: true}},
		"worked all the time":            {pod(3600, readyFor(3600)), noon, sighting{settled: true}},
		"crashed without it":             {pod(3600, both(looping, ran(back+1))), noon, sighting{}},
		"was restarted without it":       {pod(3600, both(restarted(9, 3), ran(back+1))), noon, sighting{}},
		"crashes with it":                {pod(3600, both(looping, ran(back))), noon, sighting{crash: says}},
		"crashes, nobody knows how long": {pod(3600, looping), noon, sighting{crash: says}},
		"init crashed without it":        {pod(3600, both(initLooping, ran(back+1))), noon, sighting{}},
	} {
		w := aDeployment(func(*appsv1.Deployment) {})
		got := sight(w, "s", second(-back), []corev1.Pod{test.pod}, test.now)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(sighting{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A deadline that a workload missed while the Secret was not there is counted anew from
// the moment at which it was back, and one that began with the Secret there is not.
func TestExcused(t *testing.T) {
	late := aDeployment(lateDeployment)
	short := aDeployment(func(d *appsv1.Deployment) {
		lateDeployment(d)
		d.Spec.ProgressDeadlineSeconds = ptr.To[int32](60)
	})
	degraded := newArgoRollout()
	degraded.Object["spec"] = map[string]any{"template": map[string]any{}, "progressDeadlineSeconds": int64(60)}
	degraded.Object["status"] = map[string]any{"observedGeneration": "0", "phase": phaseDegraded}
	argo, _ := FromObject(degraded)
	kept, err := Strip(degraded.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	strippedArgo, _ := FromObject(kept.(client.Object))
	const failing, rolling = vaultv1alpha1.WorkloadFailed, vaultv1alpha1.WorkloadRollingOut
	crash := sighting{crash: "it crashes"}
	for name, test := range map[string]struct {
		w     Workload
		pods  sighting
		there time.Time
		after int // seconds since noon
		want  vaultv1alpha1.WorkloadState
	}{
		"there all the time":                  {late, sighting{}, second(-1), 1, failing},
		"there since the beginning":           {late, sighting{}, noon, 1, failing},
		"never known":                         {late, sighting{}, time.Time{}, 1, failing},
		"back a while ago":                    {late, sighting{}, second(3600), 3600 + 599, rolling},
		"back for as long as it may take":     {late, sighting{}, second(3600), 3600 + 600, failing},
		"back, and its pods crash":            {late, crash, second(3600), 3601, failing},
		"its own deadline, back a while ago":  {short, sighting{}, second(3600), 3600 + 59, rolling},
		"its own deadline, back for so long":  {short, sighting{}, second(3600), 3600 + 60, failing},
		"Argo Rollout, back a while ago":      {argo, sighting{}, second(3600), 3600 + 59, rolling},
		"Argo Rollout, back for so long":      {argo, sighting{}, second(3600), 3600 + 60, failing},
		"Argo Rollout of the cache, a while":  {strippedArgo, sighting{}, second(3600), 3600 + 59, rolling},
		"Argo Rollout of the cache, so long":  {strippedArgo, sighting{}, second(3600), 3600 + 60, failing},
		"complete, whatever became of it":     {aDeployment(completeDeployment), sighting{}, second(3600), 3601, vaultv1alpha1.WorkloadCurrent},
		"a clock of the API server goes fast": {late, sighting{}, second(7200), 3600, rolling},
	} {
		excuse := excused(test.w, Content{ThereSince: test.there}.cameBack(noon), second(test.after))
		got := judge(test.w, test.pods, noon, excuse)
		if got.State != test.want || got.RollingSince == nil {
			t.Errorf("%s: %+v", name, got)
		}
		if unseen := unseen(test.w, vaultv1alpha1.WorkloadStatus{}, noon, excuse); test.pods.crash == "" && unseen.State != test.want {
			t.Errorf("%s: without a look at its pods it is %+v", name, unseen)
		}
	}
}

// A rollout is looked at often at first, and as long as it is not over.
func TestNextLook(t *testing.T) {
	since := microTime(noon)
	for name, test := range map[string]struct {
		status vaultv1alpha1.WorkloadStatus
		age    time.Duration
		want   time.Duration
	}{
		"not ours":        {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadRollingOut}, 0, 0},
		"begun":           {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadRollingOut, RollingSince: since}, 0, minLook},
		"a while later":   {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadRollingOut, RollingSince: since}, time.Minute, 10 * time.Second},
		"hours later":     {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadRollingOut, RollingSince: since}, time.Hour, maxLook},
		"clock ahead":     {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadRollingOut, RollingSince: since}, -time.Hour, minLook},
		"not settled":     {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadCurrent, RollingSince: since}, 0, minLook},
		"failed":          {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadFailed, RollingSince: since}, time.Hour, maxLook},
		"paused":          {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadPaused, RollingSince: since}, time.Minute, 10 * time.Second},
		"paused for ages": {vaultv1alpha1.WorkloadStatus{State: vaultv1alpha1.WorkloadPaused, RollingSince: since}, time.Hour, 0},
	} {
		if got := nextLook(test.status, noon.Add(test.age)); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// Where one workload is rolled after the other, one that failed, or is not through yet,
// keeps the others waiting; one that waits for a person does not.
func TestTurns(t *testing.T) {
	status := func(name string, state vaultv1alpha1.WorkloadState, ours bool) vaultv1alpha1.WorkloadStatus {
		s := vaultv1alpha1.WorkloadStatus{Kind: KindDeployment, Name: name, State: state}
		if ours {
			s.RollingSince = microTime(noon)
		}
		return s
	}
	free := []vaultv1alpha1.WorkloadStatus{
		status("done", vaultv1alpha1.WorkloadCurrent, false), status("waits", vaultv1alpha1.WorkloadPending, false),
		status("own", vaultv1alpha1.WorkloadRollingOut, false), status("broken", vaultv1alpha1.WorkloadFailed, false),
		status("paused", vaultv1alpha1.WorkloadPaused, true),
	}
	rolling, failed := status("rolling", vaultv1alpha1.WorkloadRollingOut, true), status("failed", vaultv1alpha1.WorkloadFailed, true)
	settling := status("settling", vaultv1alpha1.WorkloadCurrent, true)
	for name, test := range map[string]struct {
		more []vaultv1alpha1.WorkloadStatus
		want string
	}{
		"none":             {nil, ""},
		"rolling":          {[]vaultv1alpha1.WorkloadStatus{rolling}, "rolling"},
		"settling":         {[]vaultv1alpha1.WorkloadStatus{settling}, "settling"},
		"failed":           {[]vaultv1alpha1.WorkloadStatus{failed}, "failed"},
		"the failed first": {[]vaultv1alpha1.WorkloadStatus{rolling, failed}, "failed"},
	} {
		got := turnOf(Request{OneByOne: true}, append(slices.Clip(free), test.more...))
		if got == nil && test.want != "" || got != nil && got.Name != test.want {
			t.Errorf("%s: %+v, want %q", name, got, test.want)
		}
	}
	if got := turnOf(Request{}, []vaultv1alpha1.WorkloadStatus{failed}); got != nil {
		t.Errorf("all at once: %+v", got)
	}
}

// A workload that had no stamp for the last good content loses that for the bad, by its
// own stamp as by one for another Secret.
func TestStampIsTakenBack(t *testing.T) {
	w := aDeployment(func(*appsv1.Deployment) {})
	back := Content{Secret: "s", Checksum: "good", ChangedAt: noon, Fresh: true, Unstamped: []string{"Deployment/d"}}
	if !w.NeedsStamp(back, false) {
		t.Error("the bad stamp stays")
	}
	if got := stampsOf(w, back, nil); got[StampAnnotation("s")] != nil {
		t.Errorf("the stamp becomes %q", *got[StampAnnotation("s")])
	}
	peer := Peer{Secret: "s", Checksum: "good", Unstamped: back.Unstamped}
	got := stampsOf(w, Content{Secret: "other", Checksum: "x"}, []Peer{peer})
	if stamp, there := got[StampAnnotation("s")]; !there || stamp != nil {
		t.Errorf("with another Secret the stamps are %v", got)
	}
	w.Template.Annotations = nil
	if w.NeedsStamp(back, true) || peer.needs(w) {
		t.Error("a workload without a stamp gets one")
	}
	back.Unstamped = nil
	if !w.NeedsStamp(back, false) {
		t.Error("a workload that ran with the bad content only is not rolled")
	}
}

// Content is good when workloads run with it, and none is on its way or worse.
func TestOutcome(t *testing.T) {
	is := func(state vaultv1alpha1.WorkloadState) vaultv1alpha1.WorkloadStatus {
		return vaultv1alpha1.WorkloadStatus{State: state}
	}
	ours := func(state vaultv1alpha1.WorkloadState) vaultv1alpha1.WorkloadStatus {
		return vaultv1alpha1.WorkloadStatus{State: state, RollingSince: microTime(noon)}
	}
	current, gone := is(vaultv1alpha1.WorkloadCurrent), is(vaultv1alpha1.WorkloadNotFound)
	for name, test := range map[string]struct {
		workloads []vaultv1alpha1.WorkloadStatus
		failed    int
		good      bool
	}{
		"none":               {nil, 0, false},
		"one does not exist": {[]vaultv1alpha1.WorkloadStatus{gone}, 0, false},
		"all run":            {[]vaultv1alpha1.WorkloadStatus{current, gone, current}, 0, true},
		"one settles":        {[]vaultv1alpha1.WorkloadStatus{current, ours(vaultv1alpha1.WorkloadCurrent)}, 0, false},
		"one rolls":          {[]vaultv1alpha1.WorkloadStatus{current, is(vaultv1alpha1.WorkloadRollingOut)}, 0, false},
		"one waits":          {[]vaultv1alpha1.WorkloadStatus{current, is(vaultv1alpha1.WorkloadPending)}, 0, false},
		"one is paused":      {[]vaultv1alpha1.WorkloadStatus{current, ours(vaultv1alpha1.WorkloadPaused)}, 0, false},
		"one failed":         {[]vaultv1alpha1.WorkloadStatus{current, ours(vaultv1alpha1.WorkloadFailed)}, 1, false},
		"one of its own":     {[]vaultv1alpha1.WorkloadStatus{current, is(vaultv1alpha1.WorkloadFailed)}, 0, false},
	} {
		failures, good := outcome(test.workloads)
		if len(failures) != test.failed || good != test.good {
			t.Errorf("%s: %d failed, good is %t", name, len(failures), good)
		}
	}
}
