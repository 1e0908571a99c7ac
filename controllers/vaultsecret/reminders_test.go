package vaultsecret

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// TestSetRotationDue by the reminders of the paths: what is due first is named, pinned versions and paths without one count for nothing, and what
// was said stays while the vault does not answer.
func TestSetRotationDue(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	of := func(path string, days int, age time.Duration, labels ...secret.Label) secret.Metadata {
		return secret.Metadata{Path: vaulttest.Path(t, path), RotateAfterDays: days, CreatedAt: now.Add(-age), Labels: labels}
	}
	said := metav1.Condition{Type: vaultv1alpha1.ConditionRotationDue, Status: metav1.ConditionTrue, Reason: vaultv1alpha1.ReasonRotationOverdue, Message: "before"}
	for name, test := range map[string]struct {
		versions []secret.Metadata
		failed   *failure
		want     metav1.ConditionStatus // empty: none
		message  string
		wait     time.Duration
	}{
		"no reminder":         {versions: []secret.Metadata{of("p/a", 0, 99*day, secret.Current)}},
		"pinned":              {versions: []secret.Metadata{of("p/a", 1, 9*day, secret.Previous)}},
		"not due":             {versions: []secret.Metadata{of("p/a", 30, day, secret.Current), of("p/b", 10, day, secret.Current)}, want: metav1.ConditionFalse, message: "the next rotation is that of p/b, due at 2026-03-10T12:00:00Z", wait: 9 * day},
		"due this moment":     {versions: []secret.Metadata{of("p/a", 30, 30*day, secret.Current)}, want: metav1.ConditionFalse, message: "of p/a, due at 2026-03-01T12:00:00Z", wait: 0},
		"overdue":             {versions: []secret.Metadata{of("p/a", 30, 30*day+1, secret.Current), of("p/b", 30, day, secret.Current)}, want: metav1.ConditionTrue, message: "overdue of p/a (every 30 days, since 2026-03-01);", wait: 29 * day},
		"several, each once":  {versions: []secret.Metadata{of("p/a", 1, 3*day, secret.Current), of("p/b", 1, 4*day, secret.Current), of("p/a", 1, 3*day, secret.Current)}, want: metav1.ConditionTrue, message: "of p/b (every 1 days, since 2026-02-26), p/a (every 1 days, since 2026-02-27);"},
		"no answer":           {failed: &failure{reason: vaultv1alpha1.ReasonVaultUnavailable, retry: true}, want: metav1.ConditionTrue, message: "before"},
		"no right to it":      {failed: &failure{reason: vaultv1alpha1.ReasonDenied, revoked: true}},
		"a failure afterward": {versions: []secret.Metadata{of("p/a", 30, day, secret.Current)}, failed: &failure{reason: vaultv1alpha1.ReasonSecretNotOwned}, want: metav1.ConditionFalse, wait: 29 * day},
	} {
		object := &vaultv1alpha1.VaultSecret{}
		meta.SetStatusCondition(&object.Status.Conditions, said)
		s := newScope(object)
		s.versions = test.versions
		setRotationDue(s, test.failed, now)
		got := meta.FindStatusCondition(object.Status.Conditions, vaultv1alpha1.ConditionRotationDue)
		switch {
		case test.want == "":
			if got != nil {
				t.Errorf("%s: %+v", name, got)
			}
		case got == nil || got.Status != test.want || !strings.Contains(got.Message, test.message):
			t.Errorf("%s: %+v", name, got)
		}
		wait := untilRotationDue(s, now)
		if want := test.wait; wait != want && wait != want+expiryMargin || name == "due this moment" && wait == 0 {
			t.Errorf("%s: it waits %v, want %v", name, wait, want)
		}
	}
}
