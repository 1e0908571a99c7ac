package vaultsecret_test

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// Whatever somebody does to the Secret, it is put back.
func TestDriftIsPutBack(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, `{"user":"app","password":"one"}`)
	want := map[string]string{"user": "app", "password": "one"}

	tests := map[string]struct {
		drift func(*corev1.Secret)
		// reads says whether the vault has to be read to put it back.
		reads int64
	}{
		"value":            {func(s *corev1.Secret) { s.Data["password"] = []byte("edited") }, 1},
		"added-key":        {func(s *corev1.Secret) { s.Data["extra"] = []byte("edited") }, 1},
		"removed-key":      {func(s *corev1.Secret) { delete(s.Data, "user") }, 1},
		"all-keys":         {func(s *corev1.Secret) { s.Data = nil }, 1},
		"immutable-edited": {func(s *corev1.Secret) { s.Immutable = new(true); s.Data["password"] = []byte("edited") }, 1},
		"checksum":         {func(s *corev1.Secret) { s.Annotations[vaultv1alpha1.ChecksumAnnotation] = "edited" }, 1},
		"inputs":           {func(s *corev1.Secret) { delete(s.Annotations, vaultv1alpha1.InputsAnnotation) }, 1},
		"label":            {func(s *corev1.Secret) { s.Labels["team"] = "edited" }, 0},
		"managed-label":    {func(s *corev1.Secret) { delete(s.Labels, vaultv1alpha1.ManagedByLabel) }, 1},
		"annotation":       {func(s *corev1.Secret) { delete(s.Annotations, "note") }, 0},
	}
	for name, test := range tests {
		// One after the other: the reads are counted.
		t.Run(name, func(t *testing.T) {
			object := w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) {
				s.Path = database
				s.Target.Labels = map[string]string{"team": "payments"}
				s.Target.Annotations = map[string]string{"note": "kept"}
			})
			w.ready(object)
			before := w.secret(name)
			reads := op.engine.reads.Load()

			edited := before.DeepCopy()
			change(w, edited, test.drift)
			w.eventually(func() string {
				s := w.secret(name)
				if s == nil {
					return "the Secret is gone"
				}
				s.Immutable = nil
				return cmp.Diff(
					[]any{before.Data, before.Labels, before.Annotations, before.OwnerReferences},
					[]any{s.Data, s.Labels, s.Annotations, s.OwnerReferences},
				)
			})
			if got := op.engine.reads.Load() - reads; got != test.reads {
				t.Errorf("the vault was read %d times, want %d", got, test.reads)
			}
			if name != "inputs" { // which look the same as a vault that moved on
				w.hasEvent(object, "Restored")
			}
			w.ready(object)
			if object.Status.Target.ContentChangedAt != nil {
				t.Error("drift counts as changed content, and would roll the workloads")
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		object := w.ofPath("deleted", database)
		w.ready(object)
		before := w.secret("deleted")
		w.delete(before)
		w.eventually(func() string {
			if s := w.secret("deleted"); s == nil || s.UID == before.UID {
				return "the Secret is not made anew"
			}
			return ""
		})
		w.holds("deleted", want)
		w.hasEvent(object, "Restored")
	})
	t.Run("label of somebody else stays", func(t *testing.T) {
		w.ready(w.ofPath("tagged", database))
		s := w.secret("tagged")
		change(w, s, func(s *corev1.Secret) { s.Labels["backup"] = "yes"; s.Data["password"] = []byte("edited") })
		w.holds("tagged", want)
		if got := w.secret("tagged").Labels["backup"]; got != "yes" {
			t.Errorf("the label that somebody put there is %q, want yes", got)
		}
	})
}

// A Secret that is not this VaultSecret's is never written.
func TestForeignSecretIsUntouched(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")

	foreign := func(name string, f func(*corev1.Secret)) *corev1.Secret {
		s := &corev1.Secret{Data: map[string][]byte{"mine": []byte("kept")}}
		s.Namespace, s.Name = w.namespace, name
		f(s)
		w.create(s)
		return s
	}
	tests := map[string]func(*corev1.Secret){
		"plain":    func(*corev1.Secret) {},
		"labelled": func(s *corev1.Secret) { s.Labels = map[string]string{vaultv1alpha1.ManagedByLabel: "coffer"} },
		"annotated-for-another": func(s *corev1.Secret) {
			s.Annotations = map[string]string{vaultv1alpha1.OwnerUIDAnnotation: "another"}
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			s := foreign(name, f)
			object := w.ofPath(name, database)
			w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned)
			reads := op.engine.reads.Load()
			// A further reconcile finds the Secret without reading the vault.
			change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Annotations = map[string]string{"again": "1"} })
			change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Rollout.Mode = vaultv1alpha1.RolloutNone })
			w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned)
			if got := op.engine.reads.Load() - reads; got != 0 {
				t.Errorf("the vault was read %d times for a Secret that cannot be written", got)
			}
			if got := w.secret(name); got.ResourceVersion != s.ResourceVersion {
				t.Error("the foreign Secret was written")
			}
		})
	}
	t.Run("of another VaultSecret", func(t *testing.T) {
		first := w.ofPath("first", database)
		w.ready(first)
		second := w.vaultSecret("second", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database; s.Target.Name = "first" })
		w.conditionIs(second, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonTargetTaken)
		w.delete(second)
		if got := w.secret("first"); got == nil || got.OwnerReferences[0].UID != first.UID {
			t.Error("the Secret of the first VaultSecret was taken")
		}
	})
	t.Run("given by hand", func(t *testing.T) {
		s := foreign("given", func(*corev1.Secret) {})
		object := w.ofPath("given", database)
		w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonSecretNotOwned)
		user := w.deployment("user-of-given", envFrom("given"))
		change(w, s, func(s *corev1.Secret) {
			s.Annotations = map[string]string{vaultv1alpha1.AdoptByAnnotation: object.Name}
		})
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Adopt = true })
		w.holds("given", map[string]string{"value": "one"})
		w.stamped(user, "given") // its pods run with what the Secret held before
	})
}

// Changes of the target: its name, type, labels and deletion policy.
func TestTargetChanges(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	want := map[string]string{"value": "one"}

	t.Run("renamed", func(t *testing.T) {
		object := w.vaultSecret("renamed", func(s *vaultv1alpha1.VaultSecretSpec) { s.Path = database; s.Target.Name = "before" })
		w.ready(object)
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Name = "after" })
		w.holds("after", want)
		w.isGone("before")
		w.ready(object)
		if object.Status.Target.Name != "after" {
			t.Errorf("the status names %s", object.Status.Target.Name)
		}
	})
	t.Run("type", func(t *testing.T) {
		object := w.ofPath("typed", database)
		w.ready(object)
		before := w.secret("typed")
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Type = "example.com/other" })
		w.ready(object)
		if got := w.secret("typed"); got.Type != "example.com/other" || got.UID == before.UID {
			t.Errorf("the Secret is %s, made anew: %v", got.Type, got.UID != before.UID)
		}
		w.holds("typed", want)
	})
	t.Run("refused type", func(t *testing.T) {
		object := w.ofPath("refused", database)
		w.ready(object)
		before := w.secret("refused")
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Type = string(corev1.SecretTypeTLS) })
		w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonInvalidContent)
		if got := w.secret("refused"); got == nil || got.UID != before.UID {
			t.Error("the Secret was lost to one that the API server refuses")
		}
	})
	t.Run("label removed", func(t *testing.T) {
		object := w.vaultSecret("labels", func(s *vaultv1alpha1.VaultSecretSpec) {
			s.Path = database
			s.Target.Labels = map[string]string{"a": "1", "b": "2"}
			s.Target.Annotations = map[string]string{"c": "3"}
		})
		w.ready(object)
		change(w, object, func(o *vaultv1alpha1.VaultSecret) {
			o.Spec.Target.Labels = map[string]string{"b": "2"}
			o.Spec.Target.Annotations = nil
		})
		w.ready(object)
		s := w.secret("labels")
		labels := maps.Clone(s.Labels)
		delete(labels, vaultv1alpha1.ManagedByLabel)
		if diff := cmp.Diff(map[string]string{"b": "2"}, labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
		if _, ok := s.Annotations["c"]; ok {
			t.Error("the annotation that the spec names no more is still there")
		}
	})
	t.Run("deletion policy", func(t *testing.T) {
		object := w.ofPath("policy", database)
		w.ready(object)
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.DeletionPolicy = vaultv1alpha1.DeletionRetain })
		w.ready(object)
		s := w.secret("policy")
		if len(s.OwnerReferences) != 0 || types.UID(s.Annotations[vaultv1alpha1.OwnerUIDAnnotation]) != object.UID {
			t.Errorf("a retained Secret has owners %v and annotation %q", s.OwnerReferences, s.Annotations[vaultv1alpha1.OwnerUIDAnnotation])
		}
		change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.DeletionPolicy = vaultv1alpha1.DeletionDelete })
		w.ready(object)
		s = w.secret("policy")
		if len(s.OwnerReferences) != 1 || s.Annotations[vaultv1alpha1.OwnerUIDAnnotation] != "" {
			t.Errorf("a Secret that is not retained has owners %v and annotation %q", s.OwnerReferences, s.Annotations[vaultv1alpha1.OwnerUIDAnnotation])
		}
	})
}
