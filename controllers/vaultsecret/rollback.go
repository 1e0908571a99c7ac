package vaultsecret

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// rollbackFlow names the failpoints of a rollback.
const rollbackFlow = "rollback"

// turnBackDelay is how long the run that decides on a rollback waits for the next, which
// does it. The decision is in the status by then, for whoever runs next.
const turnBackDelay = time.Millisecond

// onFailure is what happens when a rollout fails.
func onFailure(object *vaultv1alpha1.VaultSecret) vaultv1alpha1.RolloutFailurePolicy {
	if object.Spec.Rollout.OnFailure != "" {
		return object.Spec.Rollout.OnFailure
	}
	return vaultv1alpha1.OnFailureRollback
}

// turnBack puts the last good versions in the place of those that the vault has, while
// these are refused.
func (r *Reconciler) turnBack(ctx context.Context, s *scope) error {
	status := &s.object.Status
	if status.Rejected == nil {
		return nil
	}
	spec, err := specChecksum(s.object)
	if err != nil {
		return err
	}
	if status.LastGood == nil || released(s.object, spec, sourceVersions(s.refs, s.versions)) {
		status.Rejected = nil
		return nil
	}
	back, err := r.wayBack(ctx, s)
	if gone, ok := errors.AsType[*noWayBack](err); ok {
		// What was deleted or destroyed, or may not be read any more, must not stay in the
		// Secret.
		s.lostGood = fmt.Sprintf("%s, so the Secret does not keep it: %s is tried again, though its rollout failed",
			gone.why, enumerate(refusedVersions(status)))
		status.Rejected = nil
		return nil
	}
	if err != nil {
		return err
	}
	inputs, err := inputsChecksum(r.Vault, s.object, back.refs, back.versions)
	if err != nil {
		return err
	}
	if inputs != status.LastGood.Inputs {
		// Only the operator can make the keyed checksum: somebody else wrote this status, and
		// must not choose the version that is served.
		status.Rejected = nil
		return nil
	}
	s.refs, s.reads, s.versions, s.inputs = back.refs, back.reads, back.versions, inputs
	return nil
}

// released reports whether what was refused is to be tried again, or something else is
// there to try: spec is the checksum of the present spec, and present are the versions
// that the vault has. A status from before there was the checksum releases.
func released(object *vaultv1alpha1.VaultSecret, spec string, present []vaultv1alpha1.SourceVersion) bool {
	rejected := object.Status.Rejected
	return spec != rejected.SpecChecksum ||
		refreshRequest(object) != rejected.RefreshRequest ||
		!slices.Equal(present, rejected.Sources)
}

func sourceVersions(refs []secret.Ref, versions []secret.Metadata) []vaultv1alpha1.SourceVersion {
	sources := make([]vaultv1alpha1.SourceVersion, len(refs))
	for i, ref := range refs {
		sources[i] = vaultv1alpha1.SourceVersion{Path: ref.Path.String(), Version: versions[i].Version}
	}
	return sources
}

// verify looks at how the rollouts have come out: content that every workload runs with
// is noted as good, and content that failed is refused, when there is a way back.
func (r *Reconciler) verify(ctx context.Context, s *scope) error {
	status := &s.object.Status
	if onFailure(s.object) != vaultv1alpha1.OnFailureRollback {
		status.LastGood = nil
		return nil
	}
	if status.Rejected != nil {
		return nil
	}
	if len(s.rolled.Failed) == 0 {
		noteGood(s)
		return nil
	}
	if err := r.mayTurnBack(ctx, s); err != nil {
		if none, ok := errors.AsType[*noWayBack](err); ok {
			s.noWayBack = none.Error()
			return nil
		}
		return err
	}
	spec, err := specChecksum(s.object)
	if err != nil {
		return err
	}
	w := s.rolled.Failed[0]
	status.Rejected = &vaultv1alpha1.RejectedContent{
		Sources:        sourceVersions(s.refs, s.versions),
		RejectedAt:     metav1.NewTime(r.Clock.Now().Truncate(time.Second)),
		Message:        fmt.Sprintf("the rollout of %s/%s failed: %s", w.Kind, w.Name, w.Message),
		SpecChecksum:   spec,
		RefreshRequest: refreshRequest(s.object),
	}
	s.rejecting = true
	s.rolled.Wake = turnBackDelay
	return nil
}

// maxTakenBack bounds the paths of content that can be taken back. The status has them
// twice then, beside status.sources, and etcd takes no object of more than 1.5 MiB.
const maxTakenBack = 256

// noteGood notes what the Secret holds as what works, when there are workloads and all
// of them have come to run with it.
func noteGood(s *scope) {
	if len(s.refs) > maxTakenBack || !s.rolled.Good {
		return
	}
	s.object.Status.LastGood = &vaultv1alpha1.GoodContent{
		Sources: sourceVersions(s.refs, s.versions), Inputs: s.inputs, Checksum: s.checksum, Unstamped: s.rolled.Unstamped,
	}
}

// noWayBack is the error of content that cannot be rolled back. Its text goes on after
// "the rollout failed", that of why stands alone.
type noWayBack struct{ why string }

func (e *noWayBack) Error() string { return "it cannot be rolled back: " + e.why }

// errSpecChanged: only versions can be taken back, not a spec.
var errSpecChanged = &noWayBack{"what the spec makes of the versions was changed since all its workloads last ran with the Secret"}

// mayTurnBack fails with a noWayBack when there is nothing to go back to.
func (r *Reconciler) mayTurnBack(ctx context.Context, s *scope) error {
	good := s.object.Status.LastGood
	switch {
	case good == nil:
		return &noWayBack{"its workloads never ran all with an earlier version"}
	case good.Checksum == s.checksum:
		return &noWayBack{"with what the Secret holds all its workloads have run before"}
	case len(s.refs) > maxTakenBack:
		return &noWayBack{fmt.Sprintf("it is made from more than %d paths", maxTakenBack)}
	}
	back, err := r.wayBack(ctx, s)
	if err != nil {
		return err
	}
	inputs, err := inputsChecksum(r.Vault, s.object, back.refs, back.versions)
	if err != nil {
		return err
	}
	if inputs != good.Inputs {
		return errSpecChanged
	}
	return nil
}

// lastGood is what the last good content is made from: refs as the spec names them, and
// reads with the versions of then.
type lastGood struct {
	refs, reads []secret.Ref
	versions    []secret.Metadata
}

// wayBack asks the engine for the last good versions, of which nothing is opened. It
// fails with a noWayBack when there is one that cannot be had, or that the caller may not
// have any more.
func (r *Reconciler) wayBack(ctx context.Context, s *scope) (lastGood, error) {
	back, ok := goodRefs(s.refs[:s.named], s.object.Status.LastGood.Sources)
	if !ok {
		return lastGood{}, errSpecChanged
	}
	found, err := r.Vault.Resolve(ctx, s.caller, back.reads, nil, 0)
	back.versions, s.until = found.Named, secret.Earlier(s.until, found.Until)
	switch {
	case errors.Is(err, secret.ErrDenied):
		return lastGood{}, &noWayBack{"a path that the last good content was made from cannot be read any more"}
	case errors.Is(err, secret.ErrVersionNotFound):
		return lastGood{}, &noWayBack{lostVersion(err, asked{refs: back.reads})}
	case err != nil:
		return lastGood{}, r.vaultError(ctx, s, asked{refs: back.reads}, err)
	case len(back.versions) != len(back.reads):
		return lastGood{}, fmt.Errorf("the engine answered for %d of %d versions", len(back.versions), len(back.reads))
	}
	return back, nil
}

// goodRefs matches sources with what the spec names, after which come those that
// prefixes gave. ok is false when the spec named others then, or there are no sources:
// no content is made from nothing, and such a status is not Coffer's.
func goodRefs(named []secret.Ref, sources []vaultv1alpha1.SourceVersion) (good lastGood, ok bool) {
	if len(sources) == 0 || len(sources) < len(named) {
		return lastGood{}, false
	}
	for i, source := range sources {
		path, err := secret.ParsePath(source.Path)
		if err != nil || i < len(named) && named[i].Path != path {
			return lastGood{}, false
		}
		ref := secret.Ref{Path: path}
		if i < len(named) {
			ref = named[i]
		}
		good.refs = append(good.refs, ref)
		good.reads = append(good.reads, secret.Ref{Path: path, Version: source.Version})
	}
	return good, true
}

// lostVersion says which version is gone, and how it may come back.
func lostVersion(err error, what asked) string {
	var names, undelete []string
	for _, ref := range what.pinned(err) {
		names = append(names, fmt.Sprintf("%s version %d", ref.Path, ref.Version))
		undelete = append(undelete, fmt.Sprintf("coffer undelete %s --version %d", ref.Path, ref.Version))
	}
	switch {
	case errors.Is(err, secret.ErrVersionDestroyed):
		return "the last good " + strings.Join(names, " or ") + " is destroyed"
	case errors.Is(err, secret.ErrVersionDeleted):
		return "the last good " + strings.Join(names, " or ") + " is deleted (" + strings.Join(undelete, ", or ") +
			", unless a rotation retired it: its credential is accepted no more)"
	}
	return "the last good " + strings.Join(names, " or ") + " does not exist any more"
}

// unstamped are the workloads that are to have no stamp for the content of this
// checksum, which is the last good.
func unstamped(object *vaultv1alpha1.VaultSecret, checksum string) []string {
	if object.Status.Rejected == nil || object.Status.LastGood == nil || object.Status.LastGood.Checksum != checksum {
		return nil
	}
	return object.Status.LastGood.Unstamped
}

// rolledBack is the condition RolledOut while versions are refused.
func rolledBack(object *vaultv1alpha1.VaultSecret) metav1.Condition {
	status := &object.Status
	message := status.Rejected.Message
	if status.LastGood != nil {
		message += "; back to " + enumerate(versionNames(status.LastGood.Sources, status.Rejected.Sources))
	}
	message += "; " + refusal(status) + " until a newer version appears, the spec changes what is made of it, or somebody asks for it (" + askAgain(object) + ")"
	var waiting []string
	for _, w := range status.Workloads {
		if w.State != vaultv1alpha1.WorkloadCurrent && w.State != vaultv1alpha1.WorkloadNotFound {
			waiting = append(waiting, w.Kind+"/"+w.Name+" is "+string(w.State))
		}
	}
	if len(waiting) > 0 {
		message += "; still to go back: " + enumerate(waiting)
	}
	return metav1.Condition{Status: metav1.ConditionFalse, Reason: vaultv1alpha1.ReasonRolledBack, Message: message}
}

// refusal names the versions that are refused, in a sentence.
func refusal(status *vaultv1alpha1.VaultSecretStatus) string {
	return enumerate(refusedVersions(status)) + " is refused"
}

// refusedVersions names the versions that are refused.
func refusedVersions(status *vaultv1alpha1.VaultSecretStatus) []string {
	var good []vaultv1alpha1.SourceVersion
	if status.LastGood != nil {
		good = status.LastGood.Sources
	}
	names := versionNames(status.Rejected.Sources, good)
	if len(names) == 0 { // a path less
		return []string{"what the vault has"}
	}
	return names
}

// versionNames names those of sources that others do not have.
func versionNames(sources, others []vaultv1alpha1.SourceVersion) []string {
	var names []string
	for _, source := range sources {
		if !slices.Contains(others, source) {
			names = append(names, fmt.Sprintf("%s version %d", source.Path, source.Version))
		}
	}
	return names
}

func askAgain(object *vaultv1alpha1.VaultSecret) string {
	return fmt.Sprintf("kubectl annotate vaultsecret -n %s %s --overwrite %s=$(date +%%s)", object.Namespace, object.Name, vaultv1alpha1.RefreshAnnotation)
}

// newlyFailed counts the workloads whose rollout has failed since before.
func newlyFailed(before, now []vaultv1alpha1.WorkloadStatus) int {
	n := 0
	for _, w := range now {
		i := slices.IndexFunc(before, func(b vaultv1alpha1.WorkloadStatus) bool { return b.Kind == w.Kind && b.Name == w.Name })
		if w.State == vaultv1alpha1.WorkloadFailed && i >= 0 && before[i].State != vaultv1alpha1.WorkloadFailed {
			n++
		}
	}
	return n
}

// hitRollback is a failpoint of a run that rolls back.
func (s *scope) hitRollback(step string) {
	if s.reads != nil {
		failpoint.Hit(rollbackFlow, step)
	}
}
