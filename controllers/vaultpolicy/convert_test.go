package vaultpolicy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

func object(name string, rules ...vaultv1alpha1.VaultPolicyRule) vaultv1alpha1.VaultPolicy {
	return vaultv1alpha1.VaultPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: vaultv1alpha1.VaultPolicySpec{Rules: rules}}
}

func about(effect vaultv1alpha1.PolicyEffect, path vaultv1alpha1.PathPattern, expiresAt *metav1.Time) vaultv1alpha1.VaultPolicyRule {
	return vaultv1alpha1.VaultPolicyRule{
		Effect: effect, Paths: []vaultv1alpha1.PathPattern{path}, Capabilities: []vaultv1alpha1.Capability{"read"},
		Subjects: vaultv1alpha1.PolicySubjects{Users: []string{"alice"}}, ExpiresAt: expiresAt,
	}
}

// Expired rules are left out, the others keep their numbers, and the next end is
// known.
func TestConvertAllLeavesOutExpired(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *metav1.Time { return &metav1.Time{Time: now.Add(d)} }
	set := convertAll([]vaultv1alpha1.VaultPolicy{
		object("b", about("Allow", "past", at(-time.Second)), about("Allow", "now", at(0)), about("Allow", "soon", at(time.Minute)), about("Allow", "forever", nil)),
		object("a", about("Deny", "later", at(time.Hour))),
		object("c", about("Allow", "past", at(-time.Hour))),
	}, now)
	var got []string
	for _, p := range set.policies {
		for _, rule := range p.Rules {
			got = append(got, rule.Name()+": "+rule.Paths[0].String())
		}
	}
	want := []string{"VaultPolicy a rule 1: later", "VaultPolicy b rule 3: soon", "VaultPolicy b rule 4: forever"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if got := set.nextLook(now.Add(time.Minute - time.Second)); got <= time.Second || got > 2*time.Second {
		t.Errorf("a second before the next expiry it is looked at again after %v", got)
	}
	if got := (converted{}).nextLook(now); got != resyncInterval {
		t.Errorf("without an expiry it is looked at again after %v", got)
	}
	if !set.nextExpiry.Equal(now.Add(time.Minute)) {
		t.Errorf("the next expiry is %v", set.nextExpiry)
	}
}

// An invalid policy that only allows is left out; one that denies blocks, since
// leaving it out would allow what it denies. The API server lets neither through,
// but a CRD may be older than the operator.
func TestConvertAllInvalid(t *testing.T) {
	now := time.Now()
	tests := map[string]struct {
		objects []vaultv1alpha1.VaultPolicy
		blocked bool
		inForce int
	}{
		"valid":           {[]vaultv1alpha1.VaultPolicy{object("a", about("Allow", "x", nil))}, false, 1},
		"invalid allows":  {[]vaultv1alpha1.VaultPolicy{object("a", about("Allow", "x", nil)), object("b", about("Allow", "x/../y", nil))}, false, 1},
		"invalid denies":  {[]vaultv1alpha1.VaultPolicy{object("a", about("Allow", "x", nil)), object("b", about("Deny", "x/../y", nil))}, true, 1},
		"unknown effects": {[]vaultv1alpha1.VaultPolicy{object("a", about("Forbid", "x", nil))}, true, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			set := convertAll(test.objects, now)
			if set.blocked() != test.blocked || len(set.policies) != test.inForce {
				t.Errorf("blocked is %v with %d in force, want %v with %d", set.blocked(), len(set.policies), test.blocked, test.inForce)
			}
		})
	}
}
