package vaultsecret

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// conflictDelay is how long a reconcile that lost a race waits for the cache to
// see what won.
const conflictDelay = 50 * time.Millisecond

// refreshJitter spreads the safety resyncs, as a share of the interval.
const refreshJitter = 0.1

// shownPath is the path or prefix that stands for the VaultSecret in tables, also of
// one that is refused: the first that it names.
func shownPath(spec *vaultv1alpha1.VaultSecretSpec) string {
	return cut(firstPath(spec), secret.MaxPathBytes) // what is longer is no path
}

func firstPath(spec *vaultv1alpha1.VaultSecretSpec) string {
	switch {
	case spec.Path != "":
		return string(spec.Path)
	case len(spec.DataFrom) > 0:
		return string(spec.DataFrom[0].Path) + string(spec.DataFrom[0].Prefix)
	case len(spec.Data) > 0:
		return string(spec.Data[0].Path)
	default:
		return ""
	}
}

// finish turns the outcome of the steps into conditions, events, one status write
// at most, and the Result. It is the only place that does.
func (r *Reconciler) finish(ctx context.Context, s *scope, err error) (ctrl.Result, error) {
	if errors.Is(err, errConflict) {
		return r.again()
	}
	if ctx.Err() != nil {
		return ctrl.Result{}, interrupted(ctx)
	}
	var f *failure
	if err != nil {
		f = failureOf(err)
	}
	if f != nil && f.reason == vaultv1alpha1.ReasonDenied && !s.inForce {
		f.revoked, f.recheck = false, policyInterval
		f.message += "; the VaultPolicies of the cluster are not yet in force, and until they are no Secret is taken away"
	}
	if f != nil && f.revoked {
		if err := r.revoke(ctx, s, f); err != nil {
			return r.finishRevocation(err)
		}
	}
	conclude(s, f)
	setRotationDue(s, f, r.Clock.Now())
	if err := r.writeStatus(ctx, s); err != nil {
		if apierrors.IsConflict(err) {
			return r.again()
		}
		if ctx.Err() != nil {
			err = interrupted(ctx)
		}
		if client.IgnoreNotFound(err) != nil {
			r.metrics.unfinished(reasonStatusWriteFailed)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if s.rejecting {
		failpoint.Hit(rollbackFlow, failpoint.Decided)
	}
	r.failRotations(ctx, s)
	r.metrics.finished(s, f)
	logOutcome(ctx, s, f)
	r.recordEvents(s, f)
	r.recordRotationDue(s)
	return r.result(s, f, err)
}

// conclude puts the outcome of the steps into the status.
func conclude(s *scope, f *failure) {
	setConditions(s, f)
	noteRefresh(s.object)
	s.object.Status.ObservedGeneration = s.object.Generation
	s.object.Status.Path = shownPath(&s.object.Spec)
}

// maxRefreshRequest bounds what the status repeats of the annotation, in bytes.
const maxRefreshRequest = 256

// noteRefresh tells who asked for a reconcile that this was it, whatever came of it.
// While suspended nothing is done, and the request waits.
func noteRefresh(object *vaultv1alpha1.VaultSecret) {
	if object.Spec.Suspend {
		return
	}
	object.Status.LastRefreshRequest = refreshRequest(object)
}

// refreshRequest is the annotation, as far as the status repeats it.
func refreshRequest(object *vaultv1alpha1.VaultSecret) string {
	request := object.Annotations[vaultv1alpha1.RefreshAnnotation]
	return cut(request, maxRefreshRequest)
}

// cut is the beginning of text, at most so many bytes of whole characters.
func cut(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// interrupted is the error of a reconcile whose time is over; nil when the operator
// stops, which is nothing to complain of: the next one starts from what is there.
func interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return ctx.Err()
}

// again ends a reconcile that lost a race.
func (r *Reconciler) again() (ctrl.Result, error) {
	r.metrics.unfinished(reasonConflict)
	return ctrl.Result{RequeueAfter: conflictDelay}, nil
}

func (r *Reconciler) finishRevocation(err error) (ctrl.Result, error) {
	if errors.Is(err, errConflict) {
		return r.again()
	}
	return ctrl.Result{}, fmt.Errorf("take away or mark the Secret of revoked rights: %w", err)
}

func (r *Reconciler) result(s *scope, f *failure, err error) (ctrl.Result, error) {
	if f != nil && f.retry {
		return ctrl.Result{}, err
	}
	interval := refreshInterval(s.object)
	if s.object.Spec.Suspend {
		interval = 0
	}
	if f != nil && f.recheck != 0 && (interval == 0 || f.recheck < interval) {
		interval = f.recheck
	}
	var after time.Duration
	if interval > 0 {
		after = wait.Jitter(interval, refreshJitter)
	}
	wakes := []time.Duration{s.rolled.Wake, untilRightsChange(s.until, r.Clock.Now()), untilRotationDue(s, r.Clock.Now())}
	if s.overtaken {
		wakes = append(wakes, conflictDelay)
	}
	if s.untold {
		wakes = append(wakes, failRotationAgain)
	}
	for _, wake := range wakes {
		if wake > 0 && (after == 0 || wake < after) {
			after = wake
		}
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// writeStatus writes the status when it differs from what was read. It fails when
// the object changed since. An update costs the API server less than a patch, which it
// would have to apply to the object itself, and leaves all but the status alone.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) error {
	if apiequality.Semantic.DeepEqual(s.before.Status, s.object.Status) {
		return nil
	}
	failpoint.Hit(statusWriting, failpoint.BeforeWrite)
	if err := r.Status().Update(ctx, s.object); err != nil {
		return fmt.Errorf("write the status: %w", err)
	}
	failpoint.Hit(statusWriting, failpoint.AfterWrite)
	return nil
}

// maxMessage is the longest message that the API server takes of a condition
// (metav1.Condition), in bytes where that counts characters.
const maxMessage = 32768

// setConditions derives all conditions from what this run found out; of an earlier
// run only what a failure left untouched stays: RolledOut, when the run did not
// come to it.
func setConditions(s *scope, f *failure) {
	status := &s.object.Status
	set := func(kind string, value metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: kind, Status: value, Reason: reason, Message: cut(message, maxMessage), ObservedGeneration: s.object.Generation,
		})
	}
	if s.object.Spec.Suspend {
		set(vaultv1alpha1.ConditionReady, metav1.ConditionFalse, vaultv1alpha1.ReasonSuspended, "spec.suspend is true: the Secret stays as it is")
		return
	}
	switch {
	case f == nil || s.cameToRollout:
		set(vaultv1alpha1.ConditionSynced, metav1.ConditionTrue, vaultv1alpha1.ReasonSynced, syncedMessage(s))
	default:
		set(vaultv1alpha1.ConditionSynced, metav1.ConditionFalse, f.reason, f.message)
		set(vaultv1alpha1.ConditionReady, metav1.ConditionFalse, f.reason, f.message)
		if status.Target == nil || status.Target.Name == "" {
			meta.RemoveStatusCondition(&status.Conditions, vaultv1alpha1.ConditionRolledOut)
		}
		return
	}
	rolled := rolledOut(s, f)
	set(vaultv1alpha1.ConditionRolledOut, rolled.Status, rolled.Reason, rolled.Message)
	if rolled.Status == metav1.ConditionTrue {
		set(vaultv1alpha1.ConditionReady, metav1.ConditionTrue, vaultv1alpha1.ReasonSynced, syncedMessage(s))
		return
	}
	set(vaultv1alpha1.ConditionReady, metav1.ConditionFalse, rolled.Reason, rolled.Message)
}

// syncedMessage tells what the Secret holds, the first few of many sources by name.
func syncedMessage(s *scope) string {
	status := &s.object.Status
	versions := make([]string, len(status.Sources))
	for i, source := range status.Sources {
		versions[i] = fmt.Sprintf("%s version %d", source.Path, source.Version)
	}
	message := fmt.Sprintf("the Secret %s holds %s", status.Target.Name, enumerate(versions))
	if s.reads != nil && status.Rejected != nil {
		message += "; " + refusal(status) + ", since its rollout failed"
	}
	if s.lostGood != "" {
		message += "; " + s.lostGood
	}
	return message
}

// rolledOut sums up the workloads: the worst state counts.
func rolledOut(s *scope, f *failure) metav1.Condition {
	if !s.rolling {
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: vaultv1alpha1.ReasonRolloutDisabled,
			Message: "spec.rollout.mode is None: workloads are left alone"}
	}
	if s.object.Status.Rejected != nil {
		return rolledBack(s.object)
	}
	if f != nil && f.reason == vaultv1alpha1.ReasonRolloutFailed {
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: f.reason, Message: f.message}
	}
	if f != nil && f.retry { // the vault was asked for the way back
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: vaultv1alpha1.ReasonRolloutFailed,
			Message: "the rollout failed, and it is not known yet whether it can be taken back; it is tried again: " + f.message}
	}
	if f != nil {
		return metav1.Condition{Status: metav1.ConditionFalse, Reason: vaultv1alpha1.ReasonRolloutFailed,
			Message: "no workload can be rolled: " + f.message}
	}
	workloads := s.object.Status.Workloads
	named := rolloutNames(s.object)
	if len(workloads) == 0 {
		message := "no Deployment, StatefulSet, DaemonSet or Argo Rollout of the namespace uses the Secret"
		if named {
			message = "no Deployment, StatefulSet, DaemonSet or Argo Rollout of the namespace has the labels of spec.rollout.selector; others are left alone"
		}
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: vaultv1alpha1.ReasonNoWorkloads, Message: message}
	}
	for _, worst := range []struct {
		state  vaultv1alpha1.WorkloadState
		reason string
		doing  string
	}{
		{vaultv1alpha1.WorkloadFailed, vaultv1alpha1.ReasonRolloutFailed, "the rollout failed of "},
		{vaultv1alpha1.WorkloadPaused, vaultv1alpha1.ReasonRolloutPaused, "waiting for a person to roll "},
		{vaultv1alpha1.WorkloadRollingOut, vaultv1alpha1.ReasonRollingOut, "rolling "},
		{vaultv1alpha1.WorkloadPending, vaultv1alpha1.ReasonPending, "waiting for further changes (spec.rollout.debounce), or for another workload, before rolling "},
	} {
		if names := inState(workloads, worst.state); len(names) > 0 {
			message := worst.doing + enumerate(names)
			if worst.state == vaultv1alpha1.WorkloadFailed && s.noWayBack != "" {
				message += "; " + s.noWayBack
			}
			return metav1.Condition{Status: metav1.ConditionFalse, Reason: worst.reason, Message: message}
		}
	}
	// A target that does not exist runs with nothing old. Were it not Ready, those who
	// create workloads only once their Secrets are ready would wait forever.
	if missing := inState(workloads, vaultv1alpha1.WorkloadNotFound); len(missing) > 0 {
		return metav1.Condition{Status: metav1.ConditionTrue, Reason: vaultv1alpha1.ReasonWorkloadNotFound, Message: "there is no " + enumerate(missing)}
	}
	message := "every workload that uses the Secret runs with it"
	if named {
		message = "every workload that spec.rollout names is rolled; others are left alone"
	}
	return metav1.Condition{Status: metav1.ConditionTrue, Reason: vaultv1alpha1.ReasonRolledOut, Message: message}
}

// rolloutNames reports whether spec.rollout names workloads, so that use of the
// Secret counts for nothing.
func rolloutNames(object *vaultv1alpha1.VaultSecret) bool {
	return len(object.Spec.Rollout.Targets) > 0 || object.Spec.Rollout.Selector != nil
}

func inState(workloads []vaultv1alpha1.WorkloadStatus, state vaultv1alpha1.WorkloadState) []string {
	var names []string
	for _, w := range workloads {
		if w.State != state {
			continue
		}
		name := w.Kind + "/" + w.Name
		if w.Message != "" {
			name += " (" + w.Message + ")"
		}
		names = append(names, name)
	}
	return names
}

// enumerate joins a few names and counts the rest.
func enumerate(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// recordEvents tells of transitions that a person cares about, each once: a
// failure that is new, the end of one, changed content, a Secret put back, and the
// end of a rollout. A first sync and a run without news tell nothing.
func (r *Reconciler) recordEvents(s *scope, f *failure) {
	ready := func(o *vaultv1alpha1.VaultSecret) *metav1.Condition {
		return meta.FindStatusCondition(o.Status.Conditions, vaultv1alpha1.ConditionReady)
	}
	r.recordRebound(s, f)
	before, now := ready(s.before), ready(s.object)
	changed := now != nil && (before == nil || before.Reason != now.Reason || before.Status != now.Status)
	if s.rejecting {
		r.event(s.object, corev1.EventTypeWarning, vaultv1alpha1.ReasonRolledBack, "Rollout", rolledBack(s.object).Message)
	}
	if s.lostGood != "" {
		r.event(s.object, corev1.EventTypeWarning, vaultv1alpha1.EventLastGoodLost, "Rollout", s.lostGood)
	}
	switch {
	case s.object.Spec.Suspend:
		return
	case f != nil && changed:
		r.event(s.object, corev1.EventTypeWarning, now.Reason, "Sync", now.Message)
		return
	case f != nil:
		return
	case s.changed && len(toRoll(s)) > 0:
		r.event(s.object, corev1.EventTypeNormal, "ContentChanged", "Sync", syncedMessage(s)+"; rolling "+enumerate(toRoll(s)))
	case s.changed:
		r.event(s.object, corev1.EventTypeNormal, "ContentChanged", "Sync", syncedMessage(s))
	case s.restored && s.before.Status.ObservedGeneration == s.object.Generation:
		r.event(s.object, corev1.EventTypeNormal, "Restored", "Sync", "the Secret "+s.object.Status.Target.Name+" was changed or deleted by somebody else and is put back")
	case changed && before != nil && isSyncFailure(before.Reason):
		r.event(s.object, corev1.EventTypeNormal, vaultv1alpha1.ReasonSynced, "Sync", syncedMessage(s))
	}
	if changed && before != nil {
		r.recordRollout(s.object, before, now)
	}
}

// toRoll names the workloads that roll for the content, now or after the debounce.
func toRoll(s *scope) []string {
	return append(inState(s.object.Status.Workloads, vaultv1alpha1.WorkloadPending), s.rolled.Stamped...)
}

func (r *Reconciler) recordRollout(object *vaultv1alpha1.VaultSecret, before, now *metav1.Condition) {
	switch {
	case now.Reason == vaultv1alpha1.ReasonRolloutFailed, now.Reason == vaultv1alpha1.ReasonRolloutPaused:
		r.event(object, corev1.EventTypeWarning, now.Reason, "Rollout", now.Message)
	case now.Status == metav1.ConditionTrue && isRollout(before.Reason):
		rolled := "every workload that uses the Secret " + object.Status.Target.Name + " runs with it"
		if rolloutNames(object) {
			rolled = "every workload that spec.rollout names runs with the Secret " + object.Status.Target.Name
		}
		r.event(object, corev1.EventTypeNormal, vaultv1alpha1.ReasonRolledOut, "Rollout", rolled)
	}
}

// maxNote is the longest note that the API server takes of an event
// (k8s.io/kubernetes/pkg/apis/core/validation, NoteLengthLimit).
const maxNote = 1024

func (r *Reconciler) event(object *vaultv1alpha1.VaultSecret, kind, reason, action, note string) {
	if len(note) > maxNote {
		note = cut(note, maxNote-len("…")) + "…"
	}
	r.Recorder.Eventf(object, nil, kind, reason, action, "%s", note)
}

func isRollout(reason string) bool {
	switch reason {
	case vaultv1alpha1.ReasonPending, vaultv1alpha1.ReasonRollingOut, vaultv1alpha1.ReasonRolloutFailed, vaultv1alpha1.ReasonRolloutPaused, vaultv1alpha1.ReasonRolledBack:
		return true
	default:
		return false
	}
}

func isSyncFailure(reason string) bool {
	return reason != vaultv1alpha1.ReasonSynced && !isRollout(reason)
}
