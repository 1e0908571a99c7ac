package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	Now     time.Time
	// Peers finds the other Secrets that a workload follows. It is asked only when a
	// stamp is due.
	Peers func(context.Context, Workload) ([]Peer, error)
}

// Peer is another Secret that a workload follows.
type Peer struct {
	// Secret is its name, and Checksum that of its present content.
	Secret, Checksum string
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

// Roll stamps every workload that needs it and has waited enough, and says how far
// each workload that follows the Secret has come. Errors of single workloads are
// joined, and do not keep the others from being rolled.
func (r Roller) Roll(ctx context.Context, req Request) (Report, error) {
	workloads, missing, err := r.selected(ctx, req.Namespace, req.Content.Secret, req.Selection)
	if err != nil {
		return Report{Workloads: req.Previous}, err
	}
	var report Report
	var errs []error
	for _, w := range workloads {
		status, err := r.follow(ctx, req, w, &report)
		errs = append(errs, err)
		report.Workloads = append(report.Workloads, status)
	}
	report.Workloads = append(report.Workloads, missing...)
	return report, errors.Join(errs...)
}

// notStamped is the message of a workload whose stamp failed.
const notStamped = "the pod template could not be stamped; it is tried again"

// staleDelay is how long a stamp that lost a race waits for the cache to see what won.
const staleDelay = 50 * time.Millisecond

// follow brings one workload a step on.
func (r Roller) follow(ctx context.Context, req Request, w Workload, report *Report) (vaultv1alpha1.WorkloadStatus, error) {
	status := vaultv1alpha1.WorkloadStatus{Kind: w.Kind, Name: w.Object.GetName()}
	last := statusOf(req.Previous, w)
	owed := last.State == vaultv1alpha1.WorkloadPending
	if w.NeedsStamp(req.Content, owed) {
		// The stamp may be there, set by another worker just now.
		latest, err := r.get(ctx, w.Kind, client.ObjectKeyFromObject(w.Object))
		switch {
		case err == nil:
			w = latest
		case !apierrors.IsNotFound(err):
			status = pending(status, last, req.Changed, req.Debounce, req.Now)
			status.Message = notStamped
			return status, err
		}
	}
	if !w.NeedsStamp(req.Content, owed) {
		if last.State == vaultv1alpha1.WorkloadCurrent && !req.Changed {
			status.State = vaultv1alpha1.WorkloadCurrent
			return status, nil
		}
		status.State, status.Message = w.State()
		return status, nil
	}
	if owed && req.Changed {
		report.Coalesced++
	}
	status = pending(status, last, req.Changed, req.Debounce, req.Now)
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
	return r.begin(ctx, w, status, stampsOf(w, req.Content, peers), report)
}

// stampsOf are the annotations that the workload is to get: the Secret's, and those
// of its peers whose change would roll it next.
func stampsOf(w Workload, content Content, peers []Peer) map[string]string {
	stamps := map[string]string{StampAnnotation(content.Secret): content.Checksum}
	for _, peer := range peers {
		if peer.needs(w) {
			stamps[StampAnnotation(peer.Secret)] = peer.Checksum
		}
	}
	return stamps
}

func (p Peer) needs(w Workload) bool {
	stamp := w.Stamp(p.Secret)
	return stamp != p.Checksum && (stamp != "" || p.Owed)
}

// begin stamps the workload, whose status so far is Pending.
func (r Roller) begin(ctx context.Context, w Workload, status vaultv1alpha1.WorkloadStatus, stamps map[string]string, report *Report) (vaultv1alpha1.WorkloadStatus, error) {
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
	return vaultv1alpha1.WorkloadStatus{Kind: status.Kind, Name: status.Name, State: vaultv1alpha1.WorkloadRollingOut}, nil
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

// stamp sets these annotations of the pod template in one write; stamped is false
// when the workload is gone. It fails with a conflict when the workload was written
// since it was read: what another stamped meanwhile must not be taken back.
func (r Roller) stamp(ctx context.Context, w Workload, stamps map[string]string) (stamped bool, err error) {
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
