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
	if status.LastGood == nil || released(s.object, sourceVersions(s.refs, s.versions)) {
		status.Rejected = nil
		return nil
	}
	back, err := r.wayBack(ctx, s)
	switch {
	case errors.Is(err, secret.ErrDenied):
		// What may not be read any more must not stay in the Secret.
		status.Rejected = nil
		return nil
	case errors.Is(err, errNoWayBack):
		return &failure{
			reason: vaultv1alpha1.ReasonRolledBack,
			message: fmt.Sprintf("the Secret was rolled back, since %s; %s; it is left as it is: write a newer version, or have the refused one tried again (%s)",
				status.Rejected.Message, err, askAgain(s.object)),
			recheck: recheckInterval,
		}
	case err != nil:
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
// there to try: present are the versions that the vault has.
func released(object *vaultv1alpha1.VaultSecret, present []vaultv1alpha1.SourceVersion) bool {
	rejected := object.Status.Rejected
	return object.Generation != rejected.Generation ||
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
		if errors.Is(err, errNoWayBack) {
			s.noWayBack = err.Error()
			return nil
		}
		return err
	}
	w := s.rolled.Failed[0]
	status.Rejected = &vaultv1alpha1.RejectedContent{
		Sources:        sourceVersions(s.refs, s.versions),
		RejectedAt:     metav1.NewTime(r.Clock.Now().Truncate(time.Second)),
		Message:        fmt.Sprintf("the rollout of %s/%s failed: %s", w.Kind, w.Name, w.Message),
		Generation:     s.object.Generation,
		RefreshRequest: refreshRequest(s.object),
	}
	s.rejecting = true
	s.rolled.Wake = turnBackDelay
	return nil
}

// noteGood notes what the Secret holds as what works, when there are workloads and all
// of them have come to run with it.
func noteGood(s *scope) {
	if len(s.refs) > maxSources || !s.rolled.Good {
		return
	}
	s.object.Status.LastGood = &vaultv1alpha1.GoodContent{
		Sources: sourceVersions(s.refs, s.versions), Inputs: s.inputs, Checksum: s.checksum, Unstamped: s.rolled.Unstamped,
	}
}

// errNoWayBack is the kind of error of content that cannot be rolled back. Its text goes
// on after "the rollout failed".
var errNoWayBack = errors.New("it cannot be rolled back")

// mayTurnBack fails with errNoWayBack when there is nothing to go back to.
func (r *Reconciler) mayTurnBack(ctx context.Context, s *scope) error {
	good := s.object.Status.LastGood
	switch {
	case good == nil:
		return fmt.Errorf("%w: its workloads never ran all with an earlier version", errNoWayBack)
	case good.Checksum == s.checksum:
		return fmt.Errorf("%w: with what the Secret holds all its workloads have run before", errNoWayBack)
	case len(s.refs) > maxSources:
		return fmt.Errorf("%w: it is made from more than %d paths", errNoWayBack, maxSources)
	}
	back, err := r.wayBack(ctx, s)
	if errors.Is(err, secret.ErrDenied) {
		return fmt.Errorf("%w: a path that the last good content was made from cannot be read any more", errNoWayBack)
	}
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

// errSpecChanged is an errNoWayBack: only versions can be taken back, not a spec.
var errSpecChanged = fmt.Errorf("%w: what the spec makes of the versions was changed since all its workloads last ran with the Secret", errNoWayBack)

// lastGood is what the last good content is made from: refs as the spec names them, and
// reads with the versions of then.
type lastGood struct {
	refs, reads []secret.Ref
	versions    []secret.Metadata
}

// wayBack asks the engine for the last good versions, of which nothing is opened. It
// fails with errNoWayBack when there is one that cannot be had, and as the engine does
// when the caller may not have it.
func (r *Reconciler) wayBack(ctx context.Context, s *scope) (lastGood, error) {
	back, ok := goodRefs(s.refs[:s.named], s.object.Status.LastGood.Sources)
	if !ok {
		return lastGood{}, errSpecChanged
	}
	found, err := r.Vault.Resolve(ctx, s.caller, back.reads, nil, 0)
	back.versions, s.until = found.Named, secret.Earlier(s.until, found.Until)
	switch {
	case errors.Is(err, secret.ErrDenied):
		return lastGood{}, err
	case errors.Is(err, secret.ErrVersionNotFound):
		return lastGood{}, fmt.Errorf("%w: %s", errNoWayBack, lostVersion(err, asked{refs: back.reads}))
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
		return "the last good " + strings.Join(names, " or ") + " is deleted (" + strings.Join(undelete, ", or ") + ")"
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
	message += "; " + refusal(status) + " until a newer version appears, the spec changes, or somebody asks for it (" + askAgain(object) + ")"
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

// refusal names the versions that are refused.
func refusal(status *vaultv1alpha1.VaultSecretStatus) string {
	var good []vaultv1alpha1.SourceVersion
	if status.LastGood != nil {
		good = status.LastGood.Sources
	}
	names := versionNames(status.Rejected.Sources, good)
	if len(names) == 0 { // a path less
		return "what the vault has is refused"
	}
	return enumerate(names) + " is refused"
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
