package vaultsecret_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// renewAccount deletes the account api and makes another of its name.
func (w *world) renewAccount() *corev1.ServiceAccount {
	w.t.Helper()
	w.delete(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "api"}})
	return w.createAccount("api")
}

func (w *world) account() *corev1.ServiceAccount {
	w.t.Helper()
	return refreshed(w, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "api"}})
}

// eventsOnly makes a VaultSecret that nothing but an event wakes.
func (w *world) eventsOnly(name string, retain bool) *vaultv1alpha1.VaultSecret {
	w.t.Helper()
	return w.vaultSecret(name, func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path, s.RefreshInterval = database, &metav1.Duration{}
		if retain {
			s.DeletionPolicy = vaultv1alpha1.DeletionRetain
		}
	})
}

// endsSoon gives the rule of a VaultPolicy that is in force an end that is near, and
// returns it.
func (w *world) endsSoon(object *vaultv1alpha1.VaultPolicy) time.Time {
	w.t.Helper()
	ends := metav1.NewTime(time.Now().Add(2 * time.Second)).Rfc3339Copy() // as the API server keeps it
	change(w, object, func(p *vaultv1alpha1.VaultPolicy) { p.Spec.Rules[0].ExpiresAt = &ends })
	return ends.Time
}

// A rule that ends takes the Secret away, or marks it, and a denial that ends gives it
// back, both at their time and not before, without a touch of anything.
func TestRuleEnds(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.vault.Put(t, database, "one")
	allow := w.allow(database)
	removed, retained := w.eventsOnly("removed", false), w.eventsOnly("retained", true)
	w.ready(removed)
	w.ready(retained)

	deny := w.allow(database)
	change(w, deny, func(p *vaultv1alpha1.VaultPolicy) { p.Spec.Rules[0].Effect = vaultv1alpha1.EffectDeny })
	w.isGone("removed")
	w.isMarked("retained", vaultv1alpha1.ReasonDenied)
	ends := w.endsSoon(deny)
	w.holds("removed", map[string]string{"value": "one"})
	if early := time.Until(ends); early > 0 {
		t.Errorf("the Secret is back %v before the denial ends", early)
	}
	w.isUnmarked("retained")
	w.ready(removed)
	w.ready(retained)
	w.blamesNobody(retained)

	ends = w.endsSoon(allow)
	w.isGone("removed")
	if early := time.Until(ends); early > 0 {
		t.Errorf("the Secret is gone %v before the rule ends", early)
	}
	w.conditionIs(removed, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.isMarked("retained", vaultv1alpha1.ReasonDenied)
}

// The end of a rule is known from the decision: it is acted on also when nobody
// announces it, as while an invalid VaultPolicy keeps the set from being replaced.
func TestRuleEndsUnannounced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.startOperatorOf(w.namespace, false)
	w.vault.Put(t, database, "one")
	w.allowUntil(time.Now().Add(time.Hour))
	object := w.eventsOnly("payments", false)
	w.ready(object)
	ends := time.Now().Add(2 * time.Second)
	w.allowUntil(ends)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	if early := time.Until(ends); early > 0 {
		t.Errorf("denied %v before the rule ends", early)
	}
}

// allowUntil gives the cluster one policy, which no VaultPolicy says: the account api
// reads everything, and not after a time.
func (w *world) allowUntil(ends time.Time) {
	w.t.Helper()
	all, err := policy.ParsePattern("**")
	if err != nil {
		w.t.Fatal(err)
	}
	set, err := policy.New("until", []policy.Rule{{
		Effect: policy.Allow, Paths: []policy.Pattern{all}, Capabilities: []policy.Capability{policy.Read}, ExpiresAt: ends.UTC(),
		Subjects: policy.Subjects{ServiceAccounts: []policy.ServiceAccount{{Namespace: w.namespace, Name: "api"}}},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.vault.Engine.ReplacePolicies(context.Background(), w.namespace, []policy.Policy{set}); err != nil {
		w.t.Fatal(err)
	}
}

// isMarked waits until the Secret says why it is not kept in step, and returns since
// when.
func (w *world) isMarked(name, because string) string {
	w.t.Helper()
	var since string
	w.eventually(func() string {
		s := w.secret(name)
		if s == nil {
			return "the Secret " + name + " is gone"
		}
		since = s.Annotations[vaultv1alpha1.RetainedSinceAnnotation]
		if got := s.Annotations[vaultv1alpha1.RetainedBecauseAnnotation]; got != because {
			return "the Secret " + name + " is retained because of " + got + ", want " + because
		}
		return ""
	})
	if at, err := time.Parse(time.RFC3339, since); err != nil || time.Since(at) < 0 || time.Since(at) > time.Hour {
		w.t.Errorf("it is retained since %q", since)
	}
	return since
}

// A Secret that is kept without a right to it carries the reason, once, until the right
// is back.
func TestRetainedSecretIsMarked(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.put(database, "one")
	object := w.eventsOnly("kept", true)
	w.ready(object)
	if got := w.secret("kept").Annotations; got[vaultv1alpha1.RetainedBecauseAnnotation] != "" || got[vaultv1alpha1.RetainedSinceAnnotation] != "" {
		t.Errorf("a Secret that is in step is marked: %v", got)
	}

	w.delete(w.account())
	since := w.isMarked("kept", vaultv1alpha1.ReasonServiceAccountNotFound)
	said := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonServiceAccountNotFound).Message
	if !strings.Contains(said, "spec.deletionPolicy is Retain") {
		t.Errorf("the message is %q", said)
	}
	version := w.secret("kept").ResourceVersion
	w.refresh(object, "again")
	if got := w.secret("kept"); got.ResourceVersion != version {
		t.Error("a Secret that is marked was written again")
	}
	change(w, w.secret("kept"), func(s *corev1.Secret) { delete(s.Annotations, vaultv1alpha1.RetainedBecauseAnnotation) })
	w.isMarked("kept", vaultv1alpha1.ReasonServiceAccountNotFound)

	w.setAccess(&secret.AccessPolicy{})
	w.createAccount("api")
	if got := w.isMarked("kept", vaultv1alpha1.ReasonDenied); got != since {
		t.Errorf("it is retained since %s, and another reason made it %s", since, got)
	}

	w.setAccess(w.share())
	w.ready(object)
	w.isUnmarked("kept")
	w.hasEvent(object, vaultv1alpha1.ReasonSynced)
	w.blamesNobody(object)
}

func (w *world) isUnmarked(name string) {
	w.t.Helper()
	w.eventually(func() string {
		got := w.secret(name).Annotations
		if got[vaultv1alpha1.RetainedBecauseAnnotation] != "" || got[vaultv1alpha1.RetainedSinceAnnotation] != "" {
			return "the Secret " + name + " is marked"
		}
		return ""
	})
}

// blamesNobody checks that Coffer's own mark, when it is taken away, is not taken for
// somebody's edit.
func (w *world) blamesNobody(object *vaultv1alpha1.VaultSecret) {
	w.t.Helper()
	for _, e := range w.events(object) {
		if strings.HasPrefix(e, "Restored: ") {
			w.t.Errorf("the event %q blames somebody", e)
		}
	}
}

// An account that is made again under its name is another: the rights are asked for,
// the content is read for it, and the status and an Event say so. The Secret and the
// workloads stay.
func TestAccountMadeAnew(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.eventsOnly("payments", false)
	w.ready(object)
	former, before := w.account(), w.secret("payments")
	if got := object.Status.ServiceAccount; got == nil || got.Name != "api" || got.UID != string(former.UID) {
		t.Fatalf("the status binds %+v, want the account of UID %s", got, former.UID)
	}
	op.stop() // so that the Secret is not taken away in between

	renewed := w.renewAccount()
	op = w.startOperator()
	w.eventually(func() string {
		if got := refreshed(w, object).Status.ServiceAccount; got == nil || got.UID != string(renewed.UID) {
			return "the status still binds the former account"
		}
		return ""
	})
	w.ready(object)
	said := w.hasEvent(object, vaultv1alpha1.EventServiceAccountReplaced)
	if !strings.Contains(said, string(former.UID)) || !strings.Contains(said, string(renewed.UID)) {
		t.Errorf("the event %q does not name both UIDs", said)
	}
	if got := w.secret("payments"); got == nil || got.UID != before.UID {
		t.Error("the Secret was made anew")
	}
	if object.Status.Target.ContentChangedAt != nil {
		t.Error("the same content counts as changed, and would roll the workloads")
	}
	entries, _, err := w.vault.Engine.Audit(t.Context(), w.vault.Admin, audit.Query{PathPrefix: database, Action: audit.Read})
	if err != nil {
		t.Fatal(err)
	}
	if last := len(entries) - 1; last < 1 || entries[0].CallerUID != string(renewed.UID) || entries[last].CallerUID != string(former.UID) {
		t.Errorf("the audit log has not a read for each account: %+v", entries)
	}
	reads := op.engine.reads.Load()
	w.refresh(object, "again")
	if got := op.engine.reads.Load() - reads; got != 0 {
		t.Errorf("the vault was read %d times for an account that is bound", got)
	}
}

// A policy that means one account is not about the next one of its name.
func TestPolicyMeansOneAccount(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.vault.Put(t, database, "one")
	mean := func(account *corev1.ServiceAccount) func(*vaultv1alpha1.VaultPolicy) {
		return func(p *vaultv1alpha1.VaultPolicy) {
			p.Spec.Rules[0].Subjects.ServiceAccounts[0].UID = string(account.UID)
		}
	}
	only := w.allow(database)
	change(w, only, mean(w.account()))
	object := w.eventsOnly("payments", false)
	w.ready(object)
	op.stop()

	renewed := w.renewAccount()
	w.startOperator()
	w.isGone("payments")
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.eventually(func() string {
		if got := refreshed(w, object).Status.ServiceAccount; got != nil {
			return fmt.Sprintf("without a Secret the status binds %+v", got)
		}
		return ""
	})
	change(w, only, mean(renewed))
	w.holds("payments", map[string]string{"value": "one"})
	w.ready(object)
}

// What was read for an account that is deleted before the Secret is written is not
// written, though another account has the name by then.
func TestAccountGoesWhileItSyncs(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	reading, goOn := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	defer release()
	var reads, written atomic.Int64
	onRead := func(secret.Caller) {
		if reads.Add(1) == 1 {
			close(reading)
			<-goOn
			return
		}
		if err := w.client.Get(context.Background(), client.ObjectKey{Namespace: w.namespace, Name: "payments"}, &corev1.Secret{}); !apierrors.IsNotFound(err) {
			written.Add(1)
		}
	}
	op.engine.onRead.Store(&onRead)
	object := w.eventsOnly("payments", false)
	select {
	case <-reading:
	case <-time.After(deadline):
		t.Fatal("nothing was read")
	}
	renewed := w.renewAccount()
	w.eventually(func() string {
		seen := &metav1.PartialObjectMetadata{}
		seen.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
		if err := op.cache.Get(t.Context(), client.ObjectKeyFromObject(renewed), seen); err != nil || seen.UID != renewed.UID {
			return "the operator does not see the new account"
		}
		return ""
	})
	release()
	w.holds("payments", map[string]string{"value": "one"})
	w.ready(object)
	if written.Load() != 0 {
		t.Error("the Secret was written with what the deleted account had read")
	}
	if got := object.Status.ServiceAccount; got == nil || got.UID != string(renewed.UID) {
		t.Errorf("the status binds %+v", got)
	}
}
