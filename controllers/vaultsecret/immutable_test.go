package vaultsecret_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// immutable makes a VaultSecret with an immutable target.
func (w *world) immutable(name string, f ...func(*vaultv1alpha1.VaultSecretSpec)) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	return w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path, s.Target.Immutable, s.Rollout.Mode = database, true, vaultv1alpha1.RolloutNone
		for _, change := range f {
			change(s)
		}
	})
}

// placed waits until the VaultSecret names a Secret that holds value, and returns it.
func (w *world) placed(object *vaultv1alpha1.VaultSecret, value string) *corev1.Secret {
	w.t.Helper()
	var found *corev1.Secret
	w.eventually(func() string {
		w.ready(object)
		found = w.secret(object.Status.Target.Name)
		if found == nil {
			return "there is no Secret " + object.Status.Target.Name
		}
		if got := string(found.Data["value"]); got != value {
			return fmt.Sprintf("the Secret %s holds %q, want %q", found.Name, got, value)
		}
		return ""
	})
	return found
}

// written are the Secrets of the namespace that Coffer wrote, by name.
func (w *world) written() map[string]bool {
	w.t.Helper()
	var list corev1.SecretList
	if err := w.client.List(w.t.Context(), &list, client.InNamespace(w.namespace), client.HasLabels{vaultv1alpha1.ManagedByLabel}); err != nil {
		w.t.Fatal(err)
	}
	names := map[string]bool{}
	for _, s := range list.Items {
		names[s.Name] = true
	}
	return names
}

// areWritten waits until Coffer's Secrets are so many.
func (w *world) areWritten(want int) {
	w.t.Helper()
	w.eventually(func() string {
		if got := w.written(); len(got) != want {
			return fmt.Sprintf("there are %d Secrets, want %d: %v", len(got), want, got)
		}
		return ""
	})
}

// Each content has an immutable Secret of its own, which no other takes the place of,
// and which an equal content has again.
func TestImmutable(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.immutable("payments")
	first := w.placed(object, "one")
	if !regexp.MustCompile(`^payments-[0-9a-f]{10}$`).MatchString(first.Name) || !ptr.Deref(first.Immutable, false) || !metav1.IsControlledBy(first, object) {
		t.Errorf("the Secret is %s, immutable %v, owned by %v", first.Name, first.Immutable, first.OwnerReferences)
	}
	edited := first.DeepCopy()
	edited.Data["value"] = []byte("edited")
	if err := w.client.Update(t.Context(), edited); !apierrors.IsInvalid(err) {
		t.Errorf("its data could be changed: %v", err)
	}

	w.put(database, "two")
	second := w.placed(object, "two")
	if got := w.secret(first.Name); second.Name == first.Name || got == nil || got.UID != first.UID {
		t.Error("the second content took the place of the first")
	}
	w.hasEvent(object, "ContentChanged")

	w.put(database, "one")
	if again := w.placed(object, "one"); again.Name != first.Name || again.UID != first.UID {
		t.Errorf("the same content is in %s, want %s", again.Name, first.Name)
	}
	w.areWritten(2)
	reads := op.engine.reads.Load()
	w.refresh(object, "again")
	if got := op.engine.reads.Load() - reads; got != 0 {
		t.Errorf("a resync of what is in step read the vault %d times", got)
	}

	w.delete(w.secret(first.Name))
	w.eventually(func() string {
		if got := w.secret(first.Name); got == nil || got.UID == first.UID {
			return "the Secret is not made anew"
		}
		return ""
	})
	w.hasEvent(object, "Restored")
	w.ready(object)

	w.setAccess(&secret.AccessPolicy{})
	w.areWritten(0)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
}

// Secrets of earlier contents stay while something uses them, and the newest ten besides.
func TestImmutableEarlierStay(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "0")
	object := w.immutable("payments")
	inTemplate := w.placed(object, "0").Name
	user := w.deployment("api", envFrom(inTemplate))
	w.put(database, "1")
	second := w.placed(object, "1")
	inPod := second.Name
	// Of those made in one second it is not told which is the newer.
	w.eventually(func() string {
		if time.Since(second.CreationTimestamp.Time) < time.Second {
			return "the next Secrets are of the same second"
		}
		return ""
	})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "api"}, Spec: podTemplate(nil, volume(inPod)).Spec}
	w.create(pod)
	var last string
	for i := range 13 {
		value := fmt.Sprint(i + 2)
		w.put(database, value)
		last = w.placed(object, value).Name
	}
	w.areWritten(13) // the present one, ten before, and two that are used
	for _, name := range []string{inTemplate, inPod, last} {
		if !w.written()[name] {
			t.Errorf("the Secret %s is gone", name)
		}
	}

	w.delete(user)
	if err := w.client.Delete(t.Context(), pod, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	w.eventually(func() string {
		w.refresh(object, fmt.Sprint(len(w.written()), w.secret(inTemplate) == nil))
		if got := w.written(); len(got) != 11 {
			return fmt.Sprintf("there are %d Secrets, want 11", len(got))
		}
		return ""
	})
	w.delete(w.account())
	w.areWritten(0)
}

// eventsUntil waits for an event that begins so, and returns all.
func (w *world) eventsUntil(object client.Object, beginning string) []string {
	w.t.Helper()
	var events []string
	w.eventually(func() string {
		events = w.events(object)
		if !slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, beginning) }) {
			return fmt.Sprintf("no event %q in %v", beginning, events)
		}
		return ""
	})
	return events
}

// What becomes immutable later leaves the plain Secret to those that use it, and goes
// back to it.
func TestImmutableComesAndGoes(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	plain := w.secret("payments")
	change(w, object, func(o *vaultv1alpha1.VaultSecret) {
		o.Spec.Target.Immutable, o.Spec.Rollout.Mode = true, vaultv1alpha1.RolloutNone
	})
	suffixed := w.placed(object, "one")
	if suffixed.Name == "payments" {
		t.Fatal("the Secret has the plain name")
	}
	if got := w.secret("payments"); got == nil || got.UID != plain.UID {
		t.Error("the plain Secret is gone")
	}
	if at := object.Status.Target.ContentChangedAt; at != nil {
		t.Errorf("the same content, in a Secret of another name, counts as changed at %v", at)
	}
	w.put(database, "one and a half")
	next := w.placed(object, "one and a half")
	for _, event := range w.eventsUntil(object, "ContentChanged: the Secret "+next.Name) {
		if strings.HasPrefix(event, "ContentChanged: ") && !strings.Contains(event, next.Name) {
			t.Errorf("an event says that the content changed: %s", event)
		}
	}

	user := w.deployment("api", envFrom(suffixed.Name))
	change(w, object, func(o *vaultv1alpha1.VaultSecret) { o.Spec.Target.Immutable = false })
	w.put(database, "two")
	if got := w.placed(object, "two"); got.UID != plain.UID {
		t.Errorf("the content is in %s", got.Name)
	}
	if got := w.secret(suffixed.Name); got == nil || string(got.Data["value"]) != "one" {
		t.Error("the Secret that a workload uses is gone")
	}
	w.delete(user)
	w.eventually(func() string {
		w.put(database, "three")
		if w.secret(suffixed.Name) != nil {
			return "the Secret that nothing uses is still there"
		}
		return ""
	})
}
