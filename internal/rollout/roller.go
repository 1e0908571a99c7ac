package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// SecretIndex is the field index of each kind of workload by the names of the
// Secrets it uses.
const SecretIndex = "coffer.secrets"

// Roller stamps and watches the workloads of a cluster. Its zero value is not
// usable: set Client, whose cache must have the index that AddIndexes adds.
type Roller struct {
	Client client.Client
}

// Report is the outcome of Roll.
type Report struct {
	// Workloads that use the Secret, by kind and name.
	Workloads []vaultv1alpha1.WorkloadStatus
	// Stamped names the workloads that this call began to roll, as kind/name.
	Stamped []string
}

// AddIndexes adds SecretIndex for every kind of workload.
func AddIndexes(ctx context.Context, indexer client.FieldIndexer) error {
	for _, obj := range Objects() {
		if err := indexer.IndexField(ctx, obj, SecretIndex, secretsOfObject); err != nil {
			return fmt.Errorf("index %T by the Secrets it uses: %w", obj, err)
		}
	}
	return nil
}

// Objects returns one empty object of each kind of workload.
func Objects() []client.Object {
	return []client.Object{&appsv1.Deployment{}, &appsv1.StatefulSet{}, &appsv1.DaemonSet{}}
}

func secretsOfObject(obj client.Object) []string {
	w, ok := FromObject(obj)
	if !ok {
		return nil
	}
	return SecretsOf(&w.Template.Spec)
}

// Roll stamps every workload of the namespace that needs it for content and says
// how far each workload that uses the Secret has come.
//
// previous is the last report about the same content, or nil: a workload that
// once ran completely with it stays Current through rollouts of its own. Errors
// of single workloads are joined, and do not keep the others from being rolled.
func (r Roller) Roll(ctx context.Context, namespace string, content Content, previous []vaultv1alpha1.WorkloadStatus) (Report, error) {
	workloads, err := r.list(ctx, namespace, content.Secret)
	if err != nil {
		return Report{}, err
	}
	var report Report
	var errs []error
	for _, w := range workloads {
		status := vaultv1alpha1.WorkloadStatus{Kind: w.Kind, Name: w.Object.GetName()}
		last := statusOf(previous, w)
		switch {
		case w.NeedsStamp(content, last.Message == notStamped):
			status.State = vaultv1alpha1.WorkloadRollingOut
			stamped, err := r.stamp(ctx, w, content)
			if err != nil {
				errs = append(errs, err)
				status.Message = notStamped
			}
			if stamped {
				report.Stamped = append(report.Stamped, w.Kind+"/"+w.Object.GetName())
			}
		case last.State == vaultv1alpha1.WorkloadCurrent:
			status.State = vaultv1alpha1.WorkloadCurrent
		default:
			status.State, status.Message = w.State()
		}
		report.Workloads = append(report.Workloads, status)
	}
	return report, errors.Join(errs...)
}

// notStamped is the message of a workload that is owed a stamp; it is how the next
// run knows.
const notStamped = "the pod template could not be stamped; it is tried again"

// statusOf is the last status of the workload; the zero value when there is none.
func statusOf(previous []vaultv1alpha1.WorkloadStatus, w Workload) vaultv1alpha1.WorkloadStatus {
	for _, p := range previous {
		if p.Kind == w.Kind && p.Name == w.Object.GetName() {
			return p
		}
	}
	return vaultv1alpha1.WorkloadStatus{}
}

func (r Roller) list(ctx context.Context, namespace, secretName string) ([]Workload, error) {
	var found []Workload
	options := []client.ListOption{
		client.InNamespace(namespace),
		client.MatchingFields{SecretIndex: secretName},
		// A stamp is a no-op when it is there already, so the list need not wait
		// for the cache to see writes of other workers.
		client.DisableReadYourWritesConsistency,
	}
	var deployments appsv1.DeploymentList
	var statefulSets appsv1.StatefulSetList
	var daemonSets appsv1.DaemonSetList
	for _, list := range []client.ObjectList{&deployments, &statefulSets, &daemonSets} {
		if err := r.Client.List(ctx, list, options...); err != nil {
			return nil, fmt.Errorf("list the workloads that use Secret %s/%s: %w", namespace, secretName, err)
		}
	}
	add := func(obj client.Object) {
		if w, ok := FromObject(obj); ok && obj.GetDeletionTimestamp().IsZero() {
			found = append(found, w)
		}
	}
	for i := range deployments.Items {
		add(&deployments.Items[i])
	}
	for i := range statefulSets.Items {
		add(&statefulSets.Items[i])
	}
	for i := range daemonSets.Items {
		add(&daemonSets.Items[i])
	}
	slices.SortFunc(found, func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Object.GetName(), b.Object.GetName()))
	})
	return found, nil
}

// stamp sets the one annotation, whatever else changed meanwhile; stamped is
// false when the workload is gone.
func (r Roller) stamp(ctx context.Context, w Workload, content Content) (stamped bool, err error) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{StampAnnotation(content.Secret): content.Checksum}},
	}}})
	if err != nil {
		return false, fmt.Errorf("encode the stamp: %w", err)
	}
	// A copy takes the answer: the object may be shared with the cache.
	obj := w.Object.DeepCopyObject().(client.Object)
	before := obj.GetGeneration()
	err = r.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, patch))
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("stamp %s %s/%s so that its pods roll: %w", w.Kind, obj.GetNamespace(), obj.GetName(), err)
	}
	return obj.GetGeneration() != before, nil
}
