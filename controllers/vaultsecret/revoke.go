package vaultsecret

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// revoke does to the Secret what spec.deletionPolicy says of rights that are gone: it
// is taken away, or kept and marked.
func (r *Reconciler) revoke(ctx context.Context, s *scope, f *failure) error {
	if !retains(s.object) {
		return r.withdraw(ctx, s)
	}
	kept, err := r.markRetained(ctx, s, f.reason)
	if kept {
		f.message += fmt.Sprintf("; spec.deletionPolicy is Retain: the Secret stays with what it held, marked by %s, and is not kept in step", vaultv1alpha1.RetainedBecauseAnnotation)
	}
	return err
}

// markRetained notes on the Secrets of the VaultSecret why and since when they are not
// kept in step, and reports whether there are any. As when they would be taken away,
// those from another vault are left: nobody revoked anything there.
func (r *Reconciler) markRetained(ctx context.Context, s *scope, reason string) (kept bool, err error) {
	ours := vaultChecksum(r.Vault)
	owned, err := r.owned(ctx, s)
	if err != nil {
		return false, err
	}
	for i := range owned {
		if owned[i].Annotations[vaultv1alpha1.VaultAnnotation] != ours {
			continue
		}
		if last := s.object.Status.Target; s.object.Spec.Target.Immutable && last != nil && owned[i].Name != last.Name {
			continue // of an earlier content, which is not kept in step anyway
		}
		kept = true
		target := owned[i].DeepCopy()
		if !mark(target, reason, r.Clock.Now()) {
			continue
		}
		patch := client.MergeFromWithOptions(&owned[i], client.MergeFromWithOptimisticLock{})
		// As for a deletion, the cache need not have the Secret any more.
		if err := client.IgnoreNotFound(r.Patch(ctx, target, patch, client.DisableReadYourWritesConsistency)); err != nil {
			return kept, writeFailure("mark the Secret "+target.Name, err)
		}
	}
	return kept, nil
}

// mark reports whether it changed the mark. Another reason does not change since when.
func mark(target *corev1.Secret, reason string, now time.Time) bool {
	if target.Annotations[vaultv1alpha1.RetainedBecauseAnnotation] == reason && target.Annotations[vaultv1alpha1.RetainedSinceAnnotation] != "" {
		return false
	}
	target.Annotations[vaultv1alpha1.RetainedBecauseAnnotation] = reason
	if target.Annotations[vaultv1alpha1.RetainedSinceAnnotation] == "" {
		target.Annotations[vaultv1alpha1.RetainedSinceAnnotation] = now.UTC().Format(time.RFC3339)
	}
	return true
}

func marked(target *corev1.Secret) bool {
	return target.Annotations[vaultv1alpha1.RetainedBecauseAnnotation] != ""
}

func unmark(target *corev1.Secret) {
	delete(target.Annotations, vaultv1alpha1.RetainedBecauseAnnotation)
	delete(target.Annotations, vaultv1alpha1.RetainedSinceAnnotation)
}

// expiryMargin is how long after a rule ends the rights are looked at, so that the
// clocks agree that it is over.
const expiryMargin = 10 * time.Millisecond

// longestWait keeps the wait for a moment in the far future within a Duration.
const longestWait = 365 * 24 * time.Hour

// untilRightsChange is the wait for the moment at which a rule ends that the rights rest
// on; 0 when there is none.
func untilRightsChange(until, now time.Time) time.Duration {
	if until.IsZero() {
		return 0
	}
	return min(max(until.Sub(now), 0), longestWait) + expiryMargin
}

// recordRebound tells that the account of the VaultSecret is another of the same name.
// That the spec names another account is no news to whoever changed it.
func (r *Reconciler) recordRebound(s *scope, f *failure) {
	bound := s.before.Status.ServiceAccount
	if f != nil || !s.rebound || bound.Name != s.caller.Name {
		return
	}
	r.event(s.object, corev1.EventTypeNormal, vaultv1alpha1.EventServiceAccountReplaced, "Sync", fmt.Sprintf(
		"the service account %s was deleted and made anew (UID %s, before %s): it may read what the former might, and the content was read anew for it",
		s.caller, s.caller.UID, bound.UID))
}
