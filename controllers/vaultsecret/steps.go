package vaultsecret

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/vaultsecret/content"
	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/rollout"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// inspect finds the present target. The cache knows the Secrets that carry
// Coffer's label; when it has none, the write finds out whether there is another.
func (r *Reconciler) inspect(ctx context.Context, s *scope) error {
	if s.object.Spec.Target.Immutable {
		return r.inspectImmutable(ctx, s)
	}
	existing := &corev1.Secret{}
	err := r.Get(ctx, client.ObjectKey{Namespace: s.object.Namespace, Name: targetName(s.object)}, existing)
	switch {
	case apierrors.IsNotFound(err):
		if err := r.claim(ctx, s, nil); err != nil {
			return err
		}
		return r.inspectLive(ctx, s)
	case err != nil:
		return fmt.Errorf("get the Secret %s: %w", targetName(s.object), err)
	}
	if err := r.claim(ctx, s, existing); err != nil {
		return err
	}
	if !existing.DeletionTimestamp.IsZero() {
		return beingDeleted(existing)
	}
	s.existing = existing
	return nil
}

func beingDeleted(existing *corev1.Secret) error {
	return &failure{
		reason:  vaultv1alpha1.ReasonSecretWriteFailed,
		message: fmt.Sprintf("the Secret %s is being deleted, and a finalizer on it is waited for", existing.Name),
		recheck: recheckInterval,
	}
}

// inspectLive looks past the cache only where a foreign Secret, which the cache
// does not show, was in the way last time: so that the vault is not read again for
// a Secret that cannot be written.
func (r *Reconciler) inspectLive(ctx context.Context, s *scope) error {
	synced := meta.FindStatusCondition(s.object.Status.Conditions, vaultv1alpha1.ConditionSynced)
	if synced == nil || synced.Reason != vaultv1alpha1.ReasonSecretNotOwned && synced.Reason != vaultv1alpha1.ReasonTargetTaken {
		return nil
	}
	existing, err := r.liveTarget(ctx, s)
	s.existing = existing
	return err
}

// sync makes the Secret hold the wanted versions. When it does already, nothing is
// read from the vault.
func (r *Reconciler) sync(ctx context.Context, s *scope) error {
	if s.inStep() && !s.rebound {
		s.checksum = s.existing.Annotations[vaultv1alpha1.ChecksumAnnotation]
		r.noteContent(s, slices.Clone(keysOf(s.object)))
		return r.writeMetadata(ctx, s)
	}
	data, err := r.open(ctx, s)
	if err != nil {
		return err
	}
	defer clearData(data)
	if s.object.Spec.Target.Immutable {
		if err := r.placeImmutable(ctx, s, data); err != nil {
			return err
		}
	}
	s.checksum = contentChecksum(r.Vault, s.object.Namespace, s.secretName(), data)
	s.restored = s.drifted()
	keys := slices.Sorted(maps.Keys(data))
	if err := r.confirm(ctx, s); err != nil {
		return err
	}
	failpoint.Hit(syncing, failpoint.BeforeWrite)
	if err := r.write(ctx, s, s.existing, data); err != nil {
		return err
	}
	failpoint.Hit(syncing, failpoint.AfterWrite)
	s.written = true
	s.hitRollback(failpoint.SecretWritten)
	s.changed = r.differs(s, data)
	r.noteContent(s, keys)
	r.metrics.propagated(s.key(), r.Clock.Now())
	return nil
}

// inStep reports whether the Secret's data are what its checksum says, made from
// the inputs that are wanted now, in a Secret of the wanted type.
func (s *scope) inStep() bool {
	e := s.existing
	return e != nil && e.Type == targetType(s.object) &&
		e.Annotations[vaultv1alpha1.InputsAnnotation] == s.inputs &&
		intact(e) && s.keysKnown()
}

// intact reports whether the data of a cached Secret are those that Coffer wrote.
func intact(cached *corev1.Secret) bool {
	return observedChecksum(cached) == cached.Annotations[vaultv1alpha1.ChecksumAnnotation]
}

// keysKnown reports whether the status tells the keys of the Secret; the cache does
// not have them.
func (s *scope) keysKnown() bool {
	target := s.object.Status.Target
	return target != nil && target.Name == s.secretName() &&
		target.Checksum == s.existing.Annotations[vaultv1alpha1.ChecksumAnnotation]
}

// drifted reports whether somebody changed or deleted the Secret, rather than the
// vault or the spec having moved on.
func (s *scope) drifted() bool {
	target := s.object.Status.Target
	if target == nil || target.Name != s.secretName() {
		return false
	}
	return s.existing == nil || !intact(s.existing)
}

func keysOf(object *vaultv1alpha1.VaultSecret) []string {
	if object.Status.Target == nil {
		return nil
	}
	return object.Status.Target.Keys
}

// maxOpened bounds the values that are held at a time for one Secret, in bytes. It
// is more than a Secret takes, since not every property need be wanted.
const maxOpened = 8 << 20

// open reads each version once and builds the data. The versions that were read
// replace those that were checked: a rotation may have come between.
func (r *Reconciler) open(ctx context.Context, s *scope) (map[string][]byte, error) {
	values := make(map[secret.Ref]secret.Value, len(s.refs))
	defer func() {
		for _, value := range values {
			value.Clear()
		}
	}()
	size := 0
	for i, ref := range s.refs {
		opened, err := r.read(ctx, s, i)
		if err != nil {
			return nil, err
		}
		values[ref] = opened.Value
		s.versions[i] = opened.Metadata
		if size += opened.Value.Len(); size > maxOpened {
			return nil, &failure{
				reason:  vaultv1alpha1.ReasonInvalidSpec,
				message: fmt.Sprintf("the values that it names have more than %d MiB together; sync fewer paths into one Secret", maxOpened>>20),
			}
		}
	}
	var err error
	if s.inputs, err = inputsChecksum(r.Vault, s.object, s.refs, s.versions); err != nil {
		return nil, err
	}
	data, err := content.Build(&s.object.Spec, values)
	if err != nil {
		return nil, contentFailure(err)
	}
	return data, nil
}

// read opens what is to be opened for one of the references.
func (r *Reconciler) read(ctx context.Context, s *scope, i int) (opened secret.Secret, err error) {
	asks := s.refs[i]
	switch {
	case s.reads != nil:
		asks = s.reads[i]
		opened, err = r.Vault.Read(ctx, s.caller, asks)
	case i < s.named:
		opened, err = r.Vault.ReadAllowed(ctx, s.caller, asks, s.allowed[i])
	default:
		opened, err = r.Vault.Read(ctx, s.caller, asks)
	}
	switch {
	case errors.Is(err, secret.ErrDenied) && i >= s.named:
		return opened, errConflict // gone from below the prefix since it was resolved
	case err != nil:
		return opened, r.vaultError(ctx, s, asked{refs: []secret.Ref{asks}}, err)
	}
	return opened, nil
}

// noteContent writes into the status what the Secret holds now. The moment of a
// change of content is what rollouts go by, so it is told from both the last status
// (differs) and the Secret that was found. What somebody put over Coffer's data is undone, and
// rolls nobody; with the data of a Secret that is adopted pods may well run.
func (r *Reconciler) noteContent(s *scope, keys []string) {
	status := &s.object.Status
	last := status.Target
	target := &vaultv1alpha1.TargetStatus{Name: s.secretName(), Keys: keys, Checksum: s.checksum}
	if s.follows(last) {
		target.ContentChangedAt = last.ContentChangedAt
	}
	if s.written && s.existing != nil && (s.adopted || intact(s.existing)) && observedChecksum(s.existing) != s.checksum {
		s.changed = true
	}
	now := metav1.NewTime(r.Clock.Now().Truncate(time.Second))
	if s.changed {
		target.ContentChangedAt = &now
	}
	if s.written {
		status.LastSyncTime = &now
	}
	status.Target = target
	status.ServiceAccount = &vaultv1alpha1.ServiceAccountStatus{Name: s.caller.Name, UID: s.caller.UID}
	noteSources(s.object, s.refs, s.versions)
}

// follows reports whether the Secret takes the place of that of the last status. Its name
// is missing where it was withdrawn, and each content of an immutable one has another.
func (s *scope) follows(last *vaultv1alpha1.TargetStatus) bool {
	return last != nil && (last.Name == s.secretName() || last.Name == "" || s.object.Spec.Target.Immutable)
}

// differs reports whether data are other than those that the Secret of the last status
// held, which its checksum tells together with its name. Where the name is missing, it is
// one of the two that there can be.
func (r *Reconciler) differs(s *scope, data map[string][]byte) bool {
	last := s.object.Status.Target
	if !s.follows(last) || last.Checksum == "" {
		return false
	}
	names := []string{last.Name}
	if last.Name == "" {
		names = []string{targetName(s.object), immutableName(r.Vault, s.object, data)}
	}
	return !slices.ContainsFunc(names, func(name string) bool {
		return contentChecksum(r.Vault, s.object.Namespace, name, data) == last.Checksum
	})
}

// noteSources lists what was synced, all of it: who is in the list is waited for before a
// former credential is retired, also after a restart, when nothing but the status tells.
// content.Validate and addBelow bound how much there is. The version beside the shown path
// is that of the path; a prefix has none.
func noteSources(object *vaultv1alpha1.VaultSecret, refs []secret.Ref, versions []secret.Metadata) {
	status := &object.Status
	shown := shownPath(&object.Spec)
	status.Version = 0
	if refs[0].Path.String() == shown {
		status.Version = versions[0].Version
	}
	status.Sources = make([]vaultv1alpha1.SourceStatus, len(refs))
	for i, ref := range refs {
		rotatedAt := metav1.NewTime(versions[i].CreatedAt.Truncate(time.Second))
		status.Sources[i] = vaultv1alpha1.SourceStatus{
			Path: ref.Path.String(), Version: versions[i].Version, RotatedAt: &rotatedAt,
		}
	}
}

func clearData(data map[string][]byte) {
	for _, value := range data {
		clear(value)
	}
}

// prune deletes Secrets of this VaultSecret with another name than the target's:
// those of an earlier spec.target.name at once, and immutable ones when nothing uses
// them.
func (r *Reconciler) prune(ctx context.Context, s *scope) error {
	if !s.object.Spec.Target.Immutable {
		err := r.removeOwned(ctx, s, func(owned *corev1.Secret) bool { return owned.Name != s.secretName() && !immutable(owned) })
		if err != nil {
			return err
		}
	}
	return r.pruneImmutable(ctx, s)
}

func (r *Reconciler) removeOwned(ctx context.Context, s *scope, which func(*corev1.Secret) bool) error {
	owned, err := r.owned(ctx, s)
	if err != nil {
		return err
	}
	for i := range owned {
		if !which(&owned[i]) {
			continue
		}
		if err := r.remove(ctx, &owned[i]); err != nil {
			return err
		}
	}
	return nil
}

// withdraw takes the Secret away when the rights to it are gone. A Secret that was
// written from another vault is kept: that vault's database was replaced, and
// nobody revoked anything.
func (r *Reconciler) withdraw(ctx context.Context, s *scope) error {
	ours := vaultChecksum(r.Vault)
	kept := false
	err := r.removeOwned(ctx, s, func(owned *corev1.Secret) bool {
		foreign := owned.Annotations[vaultv1alpha1.VaultAnnotation] != ours
		kept = kept || foreign
		return !foreign
	})
	if err != nil || kept {
		return err
	}
	if target := s.object.Status.Target; target != nil {
		// The checksum stays: it tells later whether the content changed meanwhile.
		s.object.Status.Target = &vaultv1alpha1.TargetStatus{Checksum: target.Checksum, ContentChangedAt: target.ContentChangedAt}
	}
	s.object.Status.ServiceAccount = nil
	s.object.Status.Sources, s.object.Status.Version = nil, 0
	// The workloads that are owed a rollout get it when the Secret comes back, and a
	// rollout that is not known to have succeeded is watched on: it may be the one to
	// take back.
	s.object.Status.Workloads = slices.DeleteFunc(s.object.Status.Workloads, func(w vaultv1alpha1.WorkloadStatus) bool {
		return w.State != vaultv1alpha1.WorkloadPending && w.RollingSince == nil
	})
	return nil
}

// noticeTime is how long after a change of content a workload may come to notice
// that used the Secret before: far longer than any watch lags behind.
const noticeTime = time.Minute

// roll makes the workloads follow the content.
func (r *Reconciler) roll(ctx context.Context, s *scope) error {
	s.cameToRollout = true
	status := &s.object.Status
	if s.object.Spec.Rollout.Mode == vaultv1alpha1.RolloutNone {
		status.Workloads, status.LastGood = nil, nil
		return nil
	}
	s.rolling = true
	selection, err := rollout.SelectionOf(&s.object.Spec.Rollout)
	if err != nil {
		return &failure{reason: vaultv1alpha1.ReasonInvalidSpec, message: err.Error()}
	}
	target := rollout.Content{Secret: status.Target.Name, Checksum: s.checksum, ThereSince: r.thereSince(s), Unstamped: unstamped(s.object, s.checksum)}
	if at := status.Target.ContentChangedAt; at != nil {
		target.ChangedAt = at.Time
		target.Fresh = s.changed || r.Clock.Since(at.Time) < noticeTime
	}
	s.rolled, err = r.roller.Roll(ctx, rollout.Request{
		Namespace: s.object.Namespace, Content: target, Selection: selection, Debounce: debounce(s.object),
		Previous: status.Workloads, Changed: s.changed, Now: r.Clock.Now(), Peers: r.peersOf(s.object),
		Watch:    status.Rejected == nil && onFailure(s.object) != vaultv1alpha1.OnFailureIgnore,
		OneByOne: onFailure(s.object) == vaultv1alpha1.OnFailureHold,
	})
	if len(s.rolled.Stamped) > 0 {
		s.hitRollback(failpoint.Stamped)
	}
	status.Workloads = s.rolled.Workloads
	r.metrics.rolloutsStarted.Add(float64(len(s.rolled.Stamped)))
	return errors.Join(rolloutFailure(err), r.verify(ctx, s))
}

// thereSince is when the Secret was made, which is now when this run made it: new pods
// had nothing to start with before.
func (r *Reconciler) thereSince(s *scope) time.Time {
	if s.existing == nil {
		return r.Clock.Now()
	}
	return s.existing.CreationTimestamp.Time
}
