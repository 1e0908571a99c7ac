package vaultsecret

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// RotationFailer is told which versions workloads do not come up with, so that the rotation that made one of them goes back everywhere, and
// not only in the Secret of these workloads.
type RotationFailer interface {
	// FailRotation stops the rotation that made the version of the path. It does nothing when there is no such rotation.
	FailRotation(ctx context.Context, path secret.Path, version int64, reason string) error
}

const (
	// failRotationAgain is how long a run that could not tell waits for the next.
	failRotationAgain = 5 * time.Second
	// maxRotationReason bounds the reason, in bytes. The engine has the same limit.
	maxRotationReason = 1 << 10
)

// toldFailures are the versions of which was told, by VaultSecret, so that a reconcile asks the vault once. After a restart it is told again, which
// does no harm.
type toldFailures struct {
	mu   sync.Mutex
	told map[types.NamespacedName][]vaultv1alpha1.SourceVersion
}

// news reports whether sources are others than those told of last, and forgets those when there are none now.
func (t *toldFailures) news(key types.NamespacedName, sources []vaultv1alpha1.SourceVersion) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(sources) == 0 {
		delete(t.told, key)
		return false
	}
	return !slices.Equal(t.told[key], sources)
}

func (t *toldFailures) note(key types.NamespacedName, sources []vaultv1alpha1.SourceVersion) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told == nil {
		t.told = map[types.NamespacedName][]vaultv1alpha1.SourceVersion{}
	}
	t.told[key] = sources
}

func (t *toldFailures) forget(key types.NamespacedName) { t.news(key, nil) }

// failRotations tells the vault of the versions that workloads do not come up with. It is called when the status says so: whoever runs next, after a
// crash, finds it there. An error keeps nothing here from going on: it is logged, and tried again soon.
func (r *Reconciler) failRotations(ctx context.Context, s *scope) {
	if r.Rotations == nil {
		return
	}
	sources, why := failedSources(s)
	if !r.toldFailures.news(s.key(), sources) {
		return
	}
	reason := cut(fmt.Sprintf("VaultSecret %s: %s", s.key(), why), maxRotationReason)
	for _, source := range sources {
		path, err := secret.ParsePath(source.Path)
		if err == nil {
			err = r.Rotations.FailRotation(ctx, path, source.Version, reason)
		}
		if err != nil {
			log.FromContext(ctx).Error(err, "the vault was not told that workloads do not come up with a version; trying again",
				"path", source.Path, "version", source.Version, "after", failRotationAgain.String())
			s.untold = true
			return
		}
	}
	r.toldFailures.note(s.key(), sources)
}

// failedSources are the versions that workloads do not come up with, and why: those that the Secret was taken back from, or those that it holds while
// the rollout is held, or cannot be taken back. Of several that changed together each may be to blame.
func failedSources(s *scope) (sources []vaultv1alpha1.SourceVersion, why string) {
	status := &s.object.Status
	switch {
	case s.object.Spec.Suspend:
		return nil, ""
	case status.Rejected != nil:
		var good []vaultv1alpha1.SourceVersion
		if status.LastGood != nil {
			good = status.LastGood.Sources
		}
		for _, source := range status.Rejected.Sources {
			if !slices.Contains(good, source) {
				sources = append(sources, source)
			}
		}
		return sources, status.Rejected.Message
	case s.reads == nil && len(s.rolled.Failed) > 0 && onFailure(s.object) != vaultv1alpha1.OnFailureIgnore:
		w := s.rolled.Failed[0]
		return sourceVersions(s.refs, s.versions), fmt.Sprintf("the rollout of %s/%s failed: %s", w.Kind, w.Name, w.Message)
	}
	return nil, ""
}
