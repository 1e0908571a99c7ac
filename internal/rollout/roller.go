package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/failpoint"
)

// SecretIndex is the field index of each kind of workload by the names of the
// Secrets it uses.
const SecretIndex = "coffer.secrets"

// Roller stamps and watches the workloads of a cluster. Its zero value is not
// usable: set Client, whose cache must have the index that AddIndexes adds.
type Roller struct {
	Client client.Client
	// Pods reads from the API server, not from a cache. It is asked only for a Request
	// that wants its rollouts watched.
	Pods client.Reader
	// ArgoRollouts says that the kind ArgoRollout exists and is to be looked after.
	ArgoRollouts bool
}

// Request is what Roll is asked for.
type Request struct {
	Namespace string
	Content   Content
	Selection Selection
	// Debounce is how long a workload waits for further changes.
	Debounce time.Duration
	// Previous is the last report, whose intents are carried on. While the content is
	// the same, a workload that once ran completely with it stays Current through
	// rollouts of its own.
	Previous []vaultv1alpha1.WorkloadStatus
	// Changed says that the content is other than that of the last report.
	Changed bool
	// Watch asks for the rollouts that Coffer begins to be watched until they have
	// succeeded or failed (see Report), by their pods too.
	Watch bool
	// OneByOne begins a rollout only when those before it have succeeded. It wants Watch.
	OneByOne bool
	Now      time.Time
	// Peers finds the other Secrets that a workload follows. It is asked only when a
	// stamp is due.
	Peers func(context.Context, Workload) ([]Peer, error)
}

// Peer is another Secret that a workload follows.
type Peer struct {
	// Secret is its name, and Checksum that of its present content.
	Secret, Checksum string
	// Unstamped is that of the content (see Content).
	Unstamped []string
	// Owed says that the workload is to be stamped for it also when it has no stamp.
	Owed bool
	// Wait is that of the workload for it; nil when it makes nobody wait.
	Wait *Wait
}

// Report is the outcome of Roll.
type Report struct {
	// Workloads that follow the Secret, by kind and name, and then the targets that
	// cannot.
	Workloads []vaultv1alpha1.WorkloadStatus
	// Stamped names the workloads that this call began to roll, as kind/name.
	Stamped []string
	// Unstamped names those that have, and need, no stamp.
	Unstamped []string
	// Failed are those of Workloads whose rollout, begun by Coffer, failed.
	Failed []vaultv1alpha1.WorkloadStatus
	// Good says that there are workloads, and the rollout of each has succeeded.
	Good bool
	// Coalesced counts the changes of content that got no rollout of their own.
	Coalesced int
	// Wake is after how long Roll is to be called again; 0 when only events matter.
	Wake time.Duration
}

func (r *Report) wakeIn(delay time.Duration) {
	if r.Wake == 0 || delay < r.Wake {
		r.Wake = delay
	}
}

// AddIndexes adds SecretIndex for the kinds of these objects.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer, objects []client.Object) error {
	for _, obj := range objects {
		if err := indexer.IndexField(ctx, obj, SecretIndex, secretsOfObject); err != nil {
			return fmt.Errorf("index %T by the Secrets it uses: %w", obj, err)
		}
	}
	return nil
}

// Objects returns one empty object of each kind of workload, that of Argo Rollouts
// among them on demand.
func Objects(argoRollouts bool) []client.Object {
	objects := []client.Object{&appsv1.Deployment{}, &appsv1.StatefulSet{}, &appsv1.DaemonSet{}}
	if argoRollouts {
		objects = append(objects, newArgoRollout())
	}
	return objects
}

func secretsOfObject(obj client.Object) []string {
	w, ok := FromObject(obj)
	if !ok {
		return nil
	}
	return SecretsOf(&w.Template.Spec)
}

// Roll stamps every workload that needs it, has waited enough and, with OneByOne, whose
// turn it is, and says how far each workload that follows the Secret has come. Errors of
// single workloads, a PodsError among them, are joined, and do not keep the others from
// being rolled.
func (r Roller) Roll(ctx context.Context, req Request) (Report, error) {
	workloads, missing, err := r.selected(ctx, req.Namespace, req.Content.Secret, req.Selection)
	if err != nil {
		return Report{Workloads: req.Previous}, err
	}
	report := Report{Workloads: make([]vaultv1alpha1.WorkloadStatus, len(workloads))}
	var errs []error
	needing := map[int]Workload{}
	for i, w := range workloads {
		status, latest, err := r.follow(ctx, req, w, &report)
		errs = append(errs, err)
		report.Workloads[i] = status
		if latest != nil {
			needing[i] = *latest
		}
	}
	for i := range workloads {
		w, needs := needing[i]
		if !needs {
			continue
		}
		status, err := r.advance(ctx, req, w, turnOf(req, report.Workloads), &report)
		errs = append(errs, err)
		report.Workloads[i] = status
	}
	report.Workloads = append(report.Workloads, missing...)
	report.Failed, report.Good = outcome(report.Workloads)
	return report, errors.Join(errs...)
}

// turnOf is the workload whose rollout has to succeed before another begins, one that
// failed rather than one that may yet succeed; nil when there is none.
func turnOf(req Request, workloads []vaultv1alpha1.WorkloadStatus) *vaultv1alpha1.WorkloadStatus {
	if !req.OneByOne {
		return nil
	}
	for _, blocks := range []func(vaultv1alpha1.WorkloadStatus) bool{failed, underWay} {
		if i := slices.IndexFunc(workloads, blocks); i >= 0 {
			return &workloads[i]
		}
	}
	return nil
}

// notStamped is the message of a workload whose stamp failed.
const notStamped = "the pod template could not be stamped; it is tried again"

// staleDelay is how long a stamp that lost a race waits for the cache to see what won.
const staleDelay = 50 * time.Millisecond

// follow says how far a workload has come that needs no stamp. One that needs it is
// returned as it is now.
func (r Roller) follow(ctx context.Context, req Request, w Workload, report *Report) (vaultv1alpha1.WorkloadStatus, *Workload, error) {
	last := statusOf(req.Previous, w)
	owed := last.State == vaultv1alpha1.WorkloadPending
	if w.NeedsStamp(req.Content, owed) {
		// The stamp may be there, set by another worker just now.
		latest, err := r.get(ctx, w.Kind, client.ObjectKeyFromObject(w.Object))
		switch {
		case err == nil:
			w = latest
		case !apierrors.IsNotFound(err):
			status := pending(newStatus(w), last, req.Changed, req.Debounce, req.Now)
			status.Message = notStamped
			return status, nil, err
		}
	}
	if w.NeedsStamp(req.Content, owed) {
		return newStatus(w), &w, nil
	}
	if w.Stamp(req.Content.Secret) == "" {
		report.Unstamped = append(report.Unstamped, w.Kind+"/"+w.Object.GetName())
	}
	// Stamped, by whomever, for a change that this status does not tell of yet.
	begun := (owed || req.Changed) && w.Stamp(req.Content.Secret) != ""
	if req.Watch && (begun || last.RollingSince != nil && !req.Changed) {
		status, err := r.watch(ctx, req, w, last, report)
		return status, nil, err
	}
	status := newStatus(w)
	if last.State == vaultv1alpha1.WorkloadCurrent && !req.Changed {
		status.State = vaultv1alpha1.WorkloadCurrent
		return status, nil, nil
	}
	status.State, status.Message = w.State()
	return status, nil, nil
}

func newStatus(w Workload) vaultv1alpha1.WorkloadStatus {
	return vaultv1alpha1.WorkloadStatus{Kind: w.Kind, Name: w.Object.GetName()}
}

// watch looks after a rollout that Coffer began.
func (r Roller) watch(ctx context.Context, req Request, w Workload, last vaultv1alpha1.WorkloadStatus, report *Report) (vaultv1alpha1.WorkloadStatus, error) {
	since := req.Now
	if last.RollingSince != nil && !req.Changed {
		since = last.RollingSince.Time
	}
	cameBack := req.Content.cameBack(since)
	excuse := excused(w, cameBack, req.Now)
	pods, err := r.look(ctx, w, req.Content.Secret, cameBack, req.Now)
	if err != nil {
		return unseen(w, last, since, excuse), err
	}
	status := judge(w, pods, since, excuse)
	if delay := nextLook(status, req.Now); delay > 0 {
		report.wakeIn(delay)
	}
	return status, nil
}

// unseen is the status of a rollout whose pods could not be looked at: it has neither
// failed nor succeeded by that.
func unseen(w Workload, last vaultv1alpha1.WorkloadStatus, since time.Time, excuse bool) vaultv1alpha1.WorkloadStatus {
	status := asTold(w, since, excuse)
	if failed(last) {
		status.State, status.Message = last.State, last.Message
	}
	return status
}

// advance begins the rollout of a workload that needs a stamp, when it has waited
// enough. before is one whose rollout has to succeed first; nil when there is none.
func (r Roller) advance(ctx context.Context, req Request, w Workload, before *vaultv1alpha1.WorkloadStatus, report *Report) (vaultv1alpha1.WorkloadStatus, error) {
	last := statusOf(req.Previous, w)
	if last.State == vaultv1alpha1.WorkloadPending && req.Changed {
		report.Coalesced++
	}
	status := pending(newStatus(w), last, req.Changed, req.Debounce, req.Now)
	if before != nil {
		status.Message = held(*before)
		return status, nil
	}
	own := WaitOf(status, req.Debounce)
	if delay := due(own, nil).Sub(req.Now); delay > 0 {
		report.wakeIn(delay)
		return status, nil
	}
	peers, err := req.Peers(ctx, w)
	if err != nil {
		status.Message = notStamped
		return status, fmt.Errorf("find what else %s %s follows: %w", w.Kind, w.Object.GetName(), err)
	}
	if delay := due(own, peers).Sub(req.Now); delay > 0 {
		report.wakeIn(delay)
		return status, nil
	}
	return r.begin(ctx, req, w, status, stampsOf(w, req.Content, peers), report)
}

// held says what a workload waits for whose turn it is not.
func held(before vaultv1alpha1.WorkloadStatus) string {
	name := before.Kind + "/" + before.Name
	if failed(before) {
		return "held, since the rollout of " + name + " failed: mend that, write a newer version, or set spec.rollout.onFailure to Ignore to go on"
	}
	return "its turn comes when the rollout of " + name + " has succeeded (spec.rollout.onFailure is Hold)"
}

// stampsOf are the annotations that the workload is to get, null for one that is to go:
// the Secret's, and those of its peers whose change would roll it next.
func stampsOf(w Workload, content Content, peers []Peer) map[string]*string {
	stamps := map[string]*string{StampAnnotation(content.Secret): content.stampOf(w)}
	for _, peer := range peers {
		if peer.needs(w) {
			stamps[StampAnnotation(peer.Secret)] = peer.content().stampOf(w)
		}
	}
	return stamps
}

func (p Peer) content() Content {
	return Content{Secret: p.Secret, Checksum: p.Checksum, Unstamped: p.Unstamped}
}

func (p Peer) needs(w Workload) bool {
	stamp := w.Stamp(p.Secret)
	if p.content().stampOf(w) == nil {
		return stamp != ""
	}
	return stamp != p.Checksum && (stamp != "" || p.Owed)
}

// begin stamps the workload, whose status so far is Pending.
func (r Roller) begin(ctx context.Context, req Request, w Workload, status vaultv1alpha1.WorkloadStatus, stamps map[string]*string, report *Report) (vaultv1alpha1.WorkloadStatus, error) {
	stamped, err := r.stamp(ctx, w, stamps)
	if apierrors.IsConflict(err) {
		report.wakeIn(staleDelay)
		return status, nil
	}
	if err != nil {
		status.Message = notStamped
		return status, err
	}
	if stamped {
		report.Stamped = append(report.Stamped, w.Kind+"/"+status.Name)
		report.Coalesced += len(stamps) - 1
	}
	begun := newStatus(w)
	begun.State = vaultv1alpha1.WorkloadRollingOut
	if req.Watch {
		begun.RollingSince = microTime(req.Now)
		report.wakeIn(minLook)
	}
	return begun, nil
}

// statusOf is the last status of the workload; the zero value when there is none.
func statusOf(previous []vaultv1alpha1.WorkloadStatus, w Workload) vaultv1alpha1.WorkloadStatus {
	for _, p := range previous {
		if p.Kind == w.Kind && p.Name == w.Object.GetName() {
			return p
		}
	}
	return vaultv1alpha1.WorkloadStatus{}
}

// stamping is the flow of failpoints.
const stamping = "stamp"

// stamp sets these annotations of the pod template, and takes those away that are nil,
// in one write; stamped is false when the workload is gone. It fails with a conflict
// when the workload was written since it was read: what another stamped meanwhile must
// not be taken back.
func (r Roller) stamp(ctx context.Context, w Workload, stamps map[string]*string) (stamped bool, err error) {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]string{"resourceVersion": w.Object.GetResourceVersion()},
		"spec": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"annotations": stamps},
		}},
	})
	if err != nil {
		return false, fmt.Errorf("encode the stamp: %w", err)
	}
	// A copy takes the answer: the object may be shared with the cache.
	obj := w.Object.DeepCopyObject().(client.Object)
	before := obj.GetGeneration()
	failpoint.Hit(stamping, failpoint.BeforeWrite)
	err = r.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("stamp %s %s/%s so that its pods roll: %w", w.Kind, obj.GetNamespace(), obj.GetName(), err)
	}
	failpoint.Hit(stamping, failpoint.AfterWrite)
	return obj.GetGeneration() != before, nil
}
