package vaultsecret

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/rollout"
)

// A VaultSecret with an immutable target has a Secret for each content, named after it:
// <target>-<suffix>. A new content comes as a new Secret beside those before, so that at
// no moment pods find nothing, and what a pod template names never changes.

// suffixDomain is that of the keyed checksum whose beginning is the suffix.
const suffixDomain = "kubernetes-secret-suffix"

// suffixLength is that of the suffix, in hexadecimal digits: 40 bits, of which two
// contents of one target will not have the same.
const suffixLength = 10

// earlierKept is how many Secrets of earlier contents are kept though nothing uses them:
// as many as the ReplicaSets that a Deployment keeps to go back to, unless it says
// otherwise (k8s.io/api/apps/v1.DeploymentSpec.RevisionHistoryLimit).
const earlierKept = 10

func immutable(s *corev1.Secret) bool { return ptr.Deref(s.Immutable, false) }

// immutableName is the name of the Secret of a content.
func immutableName(f Fingerprinter, object *vaultv1alpha1.VaultSecret, data map[string][]byte) string {
	target := targetName(object)
	content := contentChecksum(f, object.Namespace, target, data)
	suffix := f.Fingerprint(suffixDomain, []byte(object.Namespace), []byte(target), []byte(targetType(object)), []byte(content))
	return target + "-" + suffix[:suffixLength]
}

// unsuffixed is the target of which name may be that of an immutable Secret; empty when
// it cannot be one.
func unsuffixed(name string) string {
	i := len(name) - suffixLength - 1
	if i <= 0 || name[i] != '-' || strings.Trim(name[i+1:], "0123456789abcdef") != "" {
		return ""
	}
	return name[:i]
}

// inspectImmutable finds the Secret that was made from the inputs, if there is one. It is
// told by its annotations: its name is known only when the content is.
func (r *Reconciler) inspectImmutable(ctx context.Context, s *scope) error {
	if err := r.claim(ctx, s, nil); err != nil {
		return err
	}
	var found []corev1.Secret
	if last := s.object.Status.Target; last != nil && unsuffixed(last.Name) == targetName(s.object) {
		existing := &corev1.Secret{}
		err := r.Get(ctx, client.ObjectKey{Namespace: s.object.Namespace, Name: last.Name}, existing)
		switch {
		case err == nil && owns(s.object, existing):
			found = append(found, *existing)
		case client.IgnoreNotFound(err) != nil:
			return fmt.Errorf("get the Secret %s: %w", last.Name, err)
		}
	}
	owned, err := r.owned(ctx, s)
	if err != nil {
		return err
	}
	found = append(found, owned...)
	for i := range found {
		e := &found[i]
		if immutable(e) && unsuffixed(e.Name) == targetName(s.object) && e.DeletionTimestamp.IsZero() && e.Type == targetType(s.object) &&
			e.Annotations[vaultv1alpha1.InputsAnnotation] == s.inputs && intact(e) {
			s.existing, s.target = e, e.Name
			return nil
		}
	}
	return nil
}

// placeImmutable names the Secret after the content that was read, and finds it when it
// is there already: the content is then an earlier one, or only its version is new.
func (r *Reconciler) placeImmutable(ctx context.Context, s *scope, data map[string][]byte) error {
	s.existing, s.target = nil, immutableName(r.Vault, s.object, data)
	existing := &corev1.Secret{}
	err := r.Get(ctx, client.ObjectKey{Namespace: s.object.Namespace, Name: s.target}, existing)
	if apierrors.IsNotFound(err) {
		return nil // the write finds out whether there is one that is not Coffer's
	}
	if err != nil {
		return fmt.Errorf("get the Secret %s: %w", s.target, err)
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

// holdsImmutable reports whether existing is the Secret of the content already, so that
// only its metadata may need a write.
func (s *scope) holdsImmutable(existing *corev1.Secret) bool {
	return s.object.Spec.Target.Immutable && immutable(existing) && existing.Type == targetType(s.object) &&
		existing.DeletionTimestamp.IsZero() && observedChecksum(existing) == s.checksum
}

// writeImmutable writes what may be written of the Secret of a content that is there:
// its metadata, as for another version with the same content.
func (r *Reconciler) writeImmutable(ctx context.Context, s *scope, existing *corev1.Secret) error {
	s.existing = existing
	restored := s.restored
	err := r.writeMetadata(ctx, s)
	s.restored = restored
	return err
}

// pruneImmutable deletes what is left of earlier contents, and of an earlier spec: of
// those that no workload and no pod of the namespace uses, all but the newest few.
func (r *Reconciler) pruneImmutable(ctx context.Context, s *scope) error {
	owned, err := r.owned(ctx, s)
	if err != nil {
		return err
	}
	earlier := slices.DeleteFunc(owned, func(e corev1.Secret) bool { return e.Name == s.secretName() || !e.DeletionTimestamp.IsZero() })
	slices.SortFunc(earlier, func(a, b corev1.Secret) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	if s.object.Spec.Target.Immutable {
		earlier = earlier[min(earlierKept, len(earlier)):]
	}
	if len(earlier) == 0 {
		return nil
	}
	used, err := r.usedSecrets(ctx, s.object.Namespace)
	if err != nil {
		return err
	}
	for i := range earlier {
		if used[earlier[i].Name] {
			continue
		}
		if err := r.remove(ctx, &earlier[i]); err != nil {
			return err
		}
	}
	return nil
}

// podPage is how many pods are asked for at a time.
const podPage = 500

// usedSecrets are the names of the Secrets that pods of the namespace use, and those that
// its workloads will make. Pods are read from the API server: this is asked too seldom
// for a cache of all pods of the cluster.
func (r *Reconciler) usedSecrets(ctx context.Context, namespace string) (map[string]bool, error) {
	used := map[string]bool{}
	add := func(pod *corev1.PodSpec) {
		for _, name := range rollout.SecretsOf(pod) {
			used[name] = true
		}
	}
	if err := r.roller.EachTemplate(ctx, namespace, add); err != nil {
		return nil, err
	}
	var pods corev1.PodList
	for {
		if err := r.APIReader.List(ctx, &pods, client.InNamespace(namespace), client.Limit(podPage), client.Continue(pods.Continue)); err != nil {
			return nil, fmt.Errorf("list the pods that may use Secrets of earlier contents: %w", err)
		}
		for i := range pods.Items {
			if phase := pods.Items[i].Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
				add(&pods.Items[i].Spec)
			}
		}
		if pods.Continue == "" {
			return used, nil
		}
	}
}
