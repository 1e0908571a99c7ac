package vaultrotation_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// A VaultRotation counts from its creation to its deletion, in the name of the account that exists, and a change of it at once.
func TestRotationIsDefined(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	object := w.rotation("token")
	condition := w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	if condition.Status != metav1.ConditionTrue || object.Status.ObservedGeneration != object.Generation {
		t.Errorf("Ready is %s of generation %d", condition.Status, object.Status.ObservedGeneration)
	}
	next := object.Status.NextRun
	if next == nil || time.Until(next.Time).Round(24*time.Hour) != 30*24*time.Hour || !strings.Contains(condition.Message, next.UTC().Format(time.RFC3339)) {
		t.Errorf("the next run is at %v: %s", next, condition.Message)
	}
	sa := w.serviceAccount()
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(sa), sa); err != nil {
		t.Fatal(err)
	}
	d := w.engine.defined()["token"]
	if d.As.Namespace != w.namespace || d.As.ServiceAccount != account || d.As.UID != string(sa.UID) || d.As.Environment != "production" {
		t.Errorf("it is done as %+v", d.As)
	}

	w.change(object, func(o *vaultv1alpha1.VaultRotation) { o.Spec.Suspend = true })
	if c := w.reasonIs(object, vaultv1alpha1.ReasonSuspended); c.Status != metav1.ConditionTrue || object.Status.NextRun != nil {
		t.Errorf("suspended, Ready is %s, and it is due at %v", c.Status, object.Status.NextRun)
	}
	w.delete(object)
	w.eventually(func() string {
		found, err := w.vault.Engine.DefinedRotations(context.Background(), w.caller, secret.Prefix{})
		if err != nil || len(found) > 0 {
			return fmt.Sprintf("defined are %v (%v)", found, err)
		}
		return ""
	})
}

// What went while the operator was away is not in force after it is back, and a restart alone changes nothing.
func TestStart(t *testing.T) {
	w := newWorld(t)
	stop := w.startOperator()
	object := w.rotation("token")
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	stop()
	replaced, version := w.engine.replaced.Load(), object.ResourceVersion

	stop = w.startOperator()
	other := w.rotation("other", func(s *vaultv1alpha1.VaultRotationSpec) { s.Path = "production/payments/other" })
	w.reasonIs(other, vaultv1alpha1.ReasonDenied) // there is no such path
	if got := w.engine.replaced.Load() - replaced; got != 1 {
		t.Errorf("the rotations were replaced %d times, want once for the one that is new", got)
	}
	if w.reasonIs(object, vaultv1alpha1.ReasonScheduled); object.ResourceVersion != version {
		t.Error("the restart wrote the status of a rotation that had not changed")
	}
	stop()
	w.delete(object)
	w.delete(other)
	w.startOperator()
	w.eventually(func() string {
		if defined := w.engine.defined(); len(defined) > 0 {
			return fmt.Sprintf("defined are %v", defined)
		}
		return ""
	})
}

// One without an account is left out and says so, and keeps no other from being installed. An account that is made anew is another one.
func TestAccountIsMissing(t *testing.T) {
	w := newWorld(t)
	w.vault.Put(t, "production/payments/other", `{"token":"one"}`)
	w.startOperator()
	object := w.rotation("token")
	other := w.rotation("other", func(s *vaultv1alpha1.VaultRotationSpec) {
		s.Path, s.ServiceAccountRef.Name = "production/payments/other", "nobody"
	})
	condition := w.reasonIs(other, vaultv1alpha1.ReasonServiceAccountNotFound)
	if want := w.namespace + "/nobody does not exist: create it"; condition.Status != metav1.ConditionFalse || !strings.Contains(condition.Message, want) {
		t.Errorf("Ready is %s: %s", condition.Status, condition.Message)
	}
	w.eventsAre(other, vaultv1alpha1.ReasonServiceAccountNotFound)
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	uid := w.engine.defined()["token"].As.UID

	w.delete(w.serviceAccount())
	w.reasonIs(object, vaultv1alpha1.ReasonServiceAccountNotFound)
	if defined := w.engine.defined(); len(defined) > 0 {
		t.Errorf("defined are %v", defined)
	}
	w.create(w.serviceAccount())
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	if again := w.engine.defined()["token"].As.UID; again == uid || again == "" {
		t.Errorf("the account has the UID %q, after %q", again, uid)
	}
}

// The environment of the account's namespace counts as soon as it is another.
func TestEnvironmentChanges(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	object := w.rotation("token")
	w.reasonIs(object, vaultv1alpha1.ReasonScheduled)
	namespace := &corev1.Namespace{}
	if err := w.client.Get(t.Context(), client.ObjectKey{Name: w.namespace}, namespace); err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{"staging": "staging", "": "none"} {
		namespace.Labels[vaultv1alpha1.EnvironmentLabel] = label
		if err := w.client.Update(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
		w.eventually(func() string {
			if got := w.engine.defined()["token"].As.Environment; got != want {
				return fmt.Sprintf("the environment is %q, want %q", got, want)
			}
			return ""
		})
	}
}

// Of two for one path the older one keeps it, and the other takes its place when it is gone.
func TestPathIsTaken(t *testing.T) {
	w := newWorld(t)
	older := w.rotation("older")
	w.eventually(func() string { // a creation time is of whole seconds
		if time.Since(older.CreationTimestamp.Time) < 1100*time.Millisecond {
			return "it is not older yet"
		}
		return ""
	})
	newer := w.rotation("a-newer")
	w.startOperator()
	w.reasonIs(older, vaultv1alpha1.ReasonScheduled)
	if c := w.reasonIs(newer, vaultv1alpha1.ReasonPathTaken); !strings.Contains(c.Message, "the older VaultRotation older rotates "+path) {
		t.Errorf("it says %s", c.Message)
	}
	w.delete(older)
	w.reasonIs(newer, vaultv1alpha1.ReasonScheduled)
}

// An account that may not rotate the path is told so, in the same words as when there is no such path.
func TestDenied(t *testing.T) {
	w := newWorld(t)
	w.vault.Put(t, "production/billing/token", "one")
	w.startOperator()
	there := w.rotation("there", func(s *vaultv1alpha1.VaultRotationSpec) { s.Path = "production/billing/token" })
	not := w.rotation("not", func(s *vaultv1alpha1.VaultRotationSpec) { s.Path = "production/billing/other" })
	one, two := w.reasonIs(there, vaultv1alpha1.ReasonDenied), w.reasonIs(not, vaultv1alpha1.ReasonDenied)
	if a, b := one.Message, strings.ReplaceAll(two.Message, "billing/other", "billing/token"); a != b {
		t.Errorf("of a path that is there: %s\nof one that is not: %s", a, b)
	}
	if there.Status.NextRun != nil || there.Status.LastRun != nil {
		t.Errorf("the status tells of the path: %+v", there.Status)
	}
	w.vault.AllowAll(t, w.caller, "production/billing/**")
	w.reasonIs(there, vaultv1alpha1.ReasonScheduled)
}

// While the vault does not answer, what was in force stays, and a new rotation says why it is not; then it is brought into force without help.
func TestVaultUnavailable(t *testing.T) {
	w := newWorld(t)
	w.vault.Put(t, "production/payments/other", "one")
	w.startOperator()
	first := w.rotation("first")
	w.reasonIs(first, vaultv1alpha1.ReasonScheduled)
	w.engine.down.Store(true)
	second := w.rotation("second", func(s *vaultv1alpha1.VaultRotationSpec) { s.Path = "production/payments/other" })
	w.reasonIs(second, vaultv1alpha1.ReasonVaultUnavailable)
	w.reasonIs(first, vaultv1alpha1.ReasonScheduled)
	w.engine.down.Store(false)
	w.reasonIs(second, vaultv1alpha1.ReasonScheduled)
}

// What the API server cannot know to be wrong is said in the condition.
func TestInvalidSpec(t *testing.T) {
	w := newWorld(t)
	w.startOperator()
	for name, test := range map[string]struct {
		change func(*vaultv1alpha1.VaultRotationSpec)
		want   string
	}{
		"zone": {func(s *vaultv1alpha1.VaultRotationSpec) { s.Schedule.TimeZone = "Europe/Berlon" }, "the time zone \"Europe/Berlon\" is not known"},
		"cron": {func(s *vaultv1alpha1.VaultRotationSpec) {
			*s.Schedule = vaultv1alpha1.RotationSchedule{Cron: "0 0 31 2 *"}
		}, "is never due"},
		"every":    {func(s *vaultv1alpha1.VaultRotationSpec) { s.Schedule.Every = "10s" }, "give at least 1m"},
		"reserved": {func(s *vaultv1alpha1.VaultRotationSpec) { s.Path = "sys/keyring" }, "a path of the vault itself"},
		"settings": {func(s *vaultv1alpha1.VaultRotationSpec) {
			s.Method.Generate.Password.Exclude = "abcdefghijklmnopqrstuvwxyz"
		}, "nothing is rotated: "},
	} {
		t.Run(name, func(t *testing.T) {
			object := w.rotation(name, test.change)
			if c := w.reasonIs(object, vaultv1alpha1.ReasonInvalidSpec); !strings.Contains(c.Message, test.want) {
				t.Errorf("it says %s", c.Message)
			}
			w.delete(object)
		})
	}
}
