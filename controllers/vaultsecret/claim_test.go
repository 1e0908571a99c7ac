package vaultsecret_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// foreignSecret makes a Secret that Coffer did not write.
func (w *world) foreignSecret(name string, f func(*corev1.Secret)) *corev1.Secret {
	w.t.Helper()
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name, Labels: map[string]string{"by": "hand"}},
		Data:       map[string][]byte{"mine": []byte("kept")},
	}
	f(s)
	w.create(s)
	return s
}

// adopting is a VaultSecret that asks to take its target over.
func (w *world) adopting(name string) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	return w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) { s.Path, s.Target.Adopt = database, true })
}

func consent(to string) func(*corev1.Secret) {
	return func(s *corev1.Secret) {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[vaultv1alpha1.AdoptByAnnotation] = to
	}
}

// A Secret is taken over when both sides say so, and not with one of them.
func TestAdoptionTakesTwo(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")

	t.Run("neither, then both", func(t *testing.T) {
		s := w.foreignSecret("both", func(*corev1.Secret) {})
		object := w.ofPath("both", database)
		said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned).Message
		annotate := "kubectl annotate secret -n " + w.namespace + " both vault.coffer.dev/adopt-by=both"
		if !strings.Contains(said, annotate) || !strings.Contains(said, "spec.target.adopt") {
			t.Errorf("the message is %q", said)
		}
		change(w, s, consent("both"))
		w.refresh(object, "agreed")
		said = w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned).Message
		if !strings.Contains(said, "set spec.target.adopt to true") || strings.Contains(said, "kubectl annotate") {
			t.Errorf("the message is %q", said)
		}
		user := w.deployment("user-of-both", envFrom("both"))
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Adopt = true })
		w.holds("both", map[string]string{"value": "one"})
		w.stamped(user, "both") // its pods run with what the Secret held before
		got := w.secret("both")
		if got.UID != s.UID || !metav1.IsControlledBy(got, object) || got.Labels["by"] != "hand" {
			t.Errorf("the Secret is made anew: %v, owned by %v, labelled %v", got.UID != s.UID, got.OwnerReferences, got.Labels)
		}
	})
	t.Run("the spec alone", func(t *testing.T) {
		s := w.foreignSecret("spec-alone", func(*corev1.Secret) {})
		object := w.adopting("spec-alone")
		said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned).Message
		if !strings.Contains(said, "does not agree") || !strings.Contains(said, "kubectl annotate secret") {
			t.Errorf("the message is %q", said)
		}
		reads := op.engine.reads.Load()
		w.refresh(object, "again")
		if got := op.engine.reads.Load() - reads; got != 0 {
			t.Errorf("the vault was read %d times for a Secret that cannot be written", got)
		}
		if w.secret("spec-alone").ResourceVersion != s.ResourceVersion {
			t.Error("the Secret was written")
		}
		change(w, s, consent("spec-alone")) // is found without a touch of the VaultSecret
		w.holds("spec-alone", map[string]string{"value": "one"})
	})
	for name, f := range map[string]func(*corev1.Secret){
		"consent-for-another": consent("another"),
		"an-owner-by-hand": func(s *corev1.Secret) {
			consent("")(s)
			s.Labels[vaultv1alpha1.ManagedByLabel] = vaultv1alpha1.ManagedByValue
		},
		"a-controller": func(s *corev1.Secret) {
			consent("a-controller")(s)
			s.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "1", Controller: new(true)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.foreignSecret(name, f)
			object := w.adopting(name)
			w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned)
			if name == "an-owner-by-hand" {
				change(w, s, func(s *corev1.Secret) { s.Annotations[vaultv1alpha1.OwnerUIDAnnotation] = string(object.UID) })
				w.refresh(object, "given")
				w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned)
			}
			if got := w.secret(name); got.ResourceVersion != s.ResourceVersion {
				t.Error("the Secret was written")
			}
		})
	}
}

// An adopted Secret gets the wanted type, also when it is immutable; its labels stay.
func TestAdoptionOfAnotherType(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	for name, f := range map[string]func(*corev1.Secret){
		"type":      func(s *corev1.Secret) { s.Type = "example.com/other" },
		"immutable": func(s *corev1.Secret) { s.Immutable = new(true) },
	} {
		t.Run(name, func(t *testing.T) {
			w.foreignSecret(name, func(s *corev1.Secret) { consent(name)(s); f(s) })
			object := w.adopting(name)
			w.holds(name, map[string]string{"value": "one"})
			w.ready(object)
			if got := w.secret(name); got.Type != corev1.SecretTypeOpaque || got.Labels["by"] != "hand" || !metav1.IsControlledBy(got, object) {
				t.Errorf("the Secret is %s, labelled %v, owned by %v", got.Type, got.Labels, got.OwnerReferences)
			}
		})
	}
}

// What a VaultSecret that is gone has retained is taken over by a new one like any
// other Secret: when both agree.
func TestRetainedSecretIsAdopted(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	retain := func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path, s.Target.Name, s.DeletionPolicy = database, "kept", vaultv1alpha1.DeletionRetain
	}
	first := w.vaultSecret("first", retain)
	w.ready(first)
	before := w.secret("kept")
	w.delete(first)
	second := w.vaultSecret("second", func(s *vaultv1alpha1.VaultSecretSpec) { retain(s); s.Target.Adopt = true })
	w.conditionIs(second, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned)
	change(w, w.secret("kept"), consent("second"))
	w.ready(second)
	if got := w.secret("kept"); got.UID != before.UID || got.Annotations[vaultv1alpha1.OwnerUIDAnnotation] != string(second.UID) {
		t.Errorf("the Secret is made anew: %v, owned by %q", got.UID != before.UID, got.Annotations[vaultv1alpha1.OwnerUIDAnnotation])
	}
}

// Of two VaultSecrets with one target the first keeps it, the second says so, and
// takes over by itself; nothing flaps.
func TestTargetTaken(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	w.put("production/payments/second", "two")
	named := func(name, path, target string) *vaultv1alpha1.VaultSecret {
		return w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) {
			s.Path, s.Target.Name = vaultv1alpha1.VaultPath(path), target
		})
	}
	taken := func(t *testing.T, object *vaultv1alpha1.VaultSecret, by string) {
		t.Helper()
		w.eventually(func() string {
			said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonTargetTaken).Message
			if !strings.Contains(said, "VaultSecret "+by) {
				return "the message " + said + " does not name " + by
			}
			return ""
		})
	}

	t.Run("renamed", func(t *testing.T) {
		first := named("renamed-1", database, "shared")
		w.ready(first)
		second := named("renamed-2", "production/payments/second", "shared")
		taken(t, second, "renamed-1")
		w.hasEvent(second, vaultv1alpha1.ReasonTargetTaken)
		version := w.secret("shared").ResourceVersion
		for _, request := range []string{"1", "2", "3"} {
			w.refresh(first, request)
			w.refresh(second, request)
		}
		if w.secret("shared").ResourceVersion != version {
			t.Error("the Secret was written again")
		}
		w.ready(first)
		taken(t, second, "renamed-1")
		change(w, first, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Name = "elsewhere" })
		w.holds("shared", map[string]string{"value": "two"})
		w.ready(second)
		w.holds("elsewhere", map[string]string{"value": "one"})
		w.ready(first)
		// And who comes back finds it taken, although it is the older one.
		change(w, first, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Name = "shared" })
		taken(t, first, "renamed-2")
		w.holds("shared", map[string]string{"value": "two"})
		w.holds("elsewhere", map[string]string{"value": "one"})
	})
	t.Run("deleted", func(t *testing.T) {
		first := named("deleted-1", database, "left")
		w.ready(first)
		second := named("deleted-2", "production/payments/second", "left")
		taken(t, second, "deleted-1")
		w.delete(first)
		w.eventually(func() string {
			said := w.conditionIs(second, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonTargetTaken).Message
			if !strings.Contains(said, "still belongs to") {
				return said
			}
			return ""
		})
		w.delete(w.secret("left")) // the garbage collector, which no API server brings along
		w.holds("left", map[string]string{"value": "two"})
		w.ready(second)
	})
	t.Run("without a Secret", func(t *testing.T) {
		first := named("absent-1", "production/payments/nothing", "none")
		w.conditionIs(first, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
		second := named("absent-2", "production/payments/second", "none")
		taken(t, second, "absent-1")
		reads := op.engine.reads.Load()
		w.refresh(second, "again")
		if got := op.engine.reads.Load() - reads; got != 0 {
			t.Errorf("the vault was read %d times for a Secret that is taken", got)
		}
		w.delete(first)
		w.holds("none", map[string]string{"value": "two"})
		w.ready(second)
	})
	t.Run("at the same time", func(t *testing.T) {
		objects := []*vaultv1alpha1.VaultSecret{named("same-b", database, "same"), named("same-a", "production/payments/second", "same")}
		w.eventually(func() string {
			owners := 0
			for _, object := range objects {
				refreshed(w, object)
				for _, c := range object.Status.Conditions {
					if c.Type == vaultv1alpha1.ConditionReady && c.Reason == vaultv1alpha1.ReasonSynced {
						owners++
					}
				}
			}
			if owners != 1 {
				return "not exactly one of the two is Ready"
			}
			return ""
		})
	})
}
