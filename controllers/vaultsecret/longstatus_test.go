package vaultsecret_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The API server takes the status of as many sources as a spec can have, each with the longest path there is, and
// with them the most that can be taken back.
func TestLongestStatusIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const (
		named, below = 1 + 63 + 256, 256 // path, dataFrom beside a prefix, data; all prefixes
		takenBack    = 256
	)
	path := func(n int) string { return fmt.Sprintf("%0*d", secret.MaxPathBytes, n) }
	object := w.vaultSecret("longest", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path, s.DataFrom = vaultv1alpha1.VaultPath(path(0)), []vaultv1alpha1.VaultSecretDataFrom{{Prefix: folder}}
		for n := range 63 {
			s.DataFrom = append(s.DataFrom, vaultv1alpha1.VaultSecretDataFrom{Path: vaultv1alpha1.VaultPath(path(1 + n))})
		}
		for n := range 256 {
			s.Data = append(s.Data, vaultv1alpha1.VaultSecretData{Key: fmt.Sprintf("%0253d", n), Path: vaultv1alpha1.VaultPath(path(64 + n))})
		}
	})
	now := metav1.Now()
	var versions []vaultv1alpha1.SourceVersion
	target := &vaultv1alpha1.TargetStatus{Name: object.Name, Checksum: strings.Repeat("c", 64)}
	for n := range named + below {
		object.Status.Sources = append(object.Status.Sources, vaultv1alpha1.SourceStatus{Path: path(n), Version: 1, RotatedAt: &now})
		versions = append(versions, vaultv1alpha1.SourceVersion{Path: path(n), Version: 1})
		target.Keys = append(target.Keys, fmt.Sprintf("%0253d", n))
	}
	object.Status.Target = target
	object.Status.LastGood = &vaultv1alpha1.GoodContent{Sources: versions[:takenBack]}
	object.Status.Rejected = &vaultv1alpha1.RejectedContent{Sources: versions[:takenBack], RejectedAt: now}
	if err := w.client.Status().Update(context.Background(), object); err != nil {
		t.Fatal(err)
	}
	if got := len(refreshed(w, object).Status.Sources); got != named+below {
		t.Errorf("it has %d sources", got)
	}
}
