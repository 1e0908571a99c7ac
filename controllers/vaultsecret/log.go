package vaultsecret

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/log"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// logOutcome writes a line for each thing that a reconcile did, and for a failure that
// is new: names, versions and reasons, and never a value. A run without news is silent.
// A failure that is tried again is logged by controller-runtime, with its error.
func logOutcome(ctx context.Context, s *scope, f *failure) {
	logger := log.FromContext(ctx)
	target := targetName(s.object)
	if s.written {
		logger.Info("wrote the Secret", "secret", target, "sources", sourcesOf(s.object), "contentChanged", s.changed, "restored", s.restored)
	}
	if len(s.rolled.Stamped) > 0 {
		logger.Info("rolling workloads", "secret", target, "workloads", s.rolled.Stamped)
	}
	if f == nil || f.retry {
		return
	}
	before := meta.FindStatusCondition(s.before.Status.Conditions, vaultv1alpha1.ConditionReady)
	if before == nil || before.Reason != f.reason {
		logger.Info("cannot sync", "secret", target, "reason", f.reason, "message", f.message, "accessGone", f.revoked)
	}
}

// sourcesOf lists what the Secret was made from, as path@version; the first few of many.
func sourcesOf(object *vaultv1alpha1.VaultSecret) string {
	sources := make([]string, len(object.Status.Sources))
	for i, source := range object.Status.Sources {
		sources[i] = fmt.Sprintf("%s@%d", source.Path, source.Version)
	}
	return enumerate(sources)
}
