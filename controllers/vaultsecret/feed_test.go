package vaultsecret_test

import (
	"fmt"
	"testing"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// A rotation is looked at by exactly the VaultSecrets that use the path, and the
// time it took is measured.
func TestRotationReachesOnlyItsUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Without VaultPolicies, which are the cluster's: that of another test, made while
	// this one counts, would have every VaultSecret looked at.
	w.vault.Sync(t, w.namespace)
	op := w.startOperatorOf(w.namespace, false)
	w.put(database, `{"a":"one"}`)
	byPath := w.ofPath("by-path", database)
	byEntry := w.vaultSecret("by-entry", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Data = []vaultv1alpha1.VaultSecretData{{Key: "k", Path: database, Property: "a"}}
	})
	w.ready(byPath)
	w.ready(byEntry)
	const others = 20
	for i := range others {
		path := fmt.Sprintf("production/others/%d", i)
		w.put(path, "x")
		w.ready(w.ofPath(fmt.Sprintf("other-%d", i), path))
	}
	// What the first syncs may have left to look at comes before this.
	w.counted(op, "Synced", others+2)
	w.refresh(byPath, "settled")
	unchanged, synced := op.syncs(t, "Unchanged"), op.syncs(t, "Synced")
	w.rotate(database, `{"a":"two"}`)
	w.holds("by-path", map[string]string{"a": "two"})
	w.holds("by-entry", map[string]string{"k": "two"})
	w.counted(op, "Synced", synced+2)
	// Each user: the sync, and a look or two of the first syncs that ended late.
	if got := op.syncs(t, "Unchanged") - unchanged + op.syncs(t, "Synced") - synced; got >= others {
		t.Errorf("one rotation made %d reconciles, with 2 users among %d VaultSecrets", got, others+2)
	}
	if got := op.propagations(t); got < 2 {
		t.Errorf("%d propagations are measured, want one for each user", got)
	}
}

// propagations is how many times from a change to a Secret were measured.
func (op *operator) propagations(t testing.TB) int {
	t.Helper()
	families, err := op.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "coffer_propagation_seconds" {
			return int(family.GetMetric()[0].GetHistogram().GetSampleCount())
		}
	}
	return 0
}
