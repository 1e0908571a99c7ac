package vaultsecret_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// allow makes a VaultPolicy that lets the account api read what pattern selects.
func (w *world) allow(pattern string) *vaultv1alpha1.VaultPolicy {
	w.t.Helper()
	return w.allowTo("api", pattern, "read")
}

// allowTo lets an account of the namespace do something on the paths of pattern.
func (w *world) allowTo(account, pattern string, capabilities ...vaultv1alpha1.Capability) *vaultv1alpha1.VaultPolicy {
	w.t.Helper()
	object := &vaultv1alpha1.VaultPolicy{
		ObjectMeta: metav1.ObjectMeta{GenerateName: w.namespace + "-"},
		Spec: vaultv1alpha1.VaultPolicySpec{Rules: []vaultv1alpha1.VaultPolicyRule{{
			Effect: vaultv1alpha1.EffectAllow, Paths: []vaultv1alpha1.PathPattern{vaultv1alpha1.PathPattern(pattern)},
			Capabilities: capabilities,
			Subjects: vaultv1alpha1.PolicySubjects{ServiceAccounts: []vaultv1alpha1.ServiceAccountSubject{
				{Namespace: w.namespace, Name: account},
			}},
		}}},
	}
	w.create(object)
	return object
}

// Denied until a VaultPolicy allows, denied again when it goes: each without a
// touch of the VaultSecret.
func TestPolicyDecides(t *testing.T) {
	t.Parallel()
	w, _ := newRunningWorld(t)
	w.vault.Put(t, database, "one")
	removed := w.ofPath("removed", database)
	retained := w.vaultSecret("retained", func(s *vaultv1alpha1.VaultSecretSpec) {
		s.Path = database
		s.DeletionPolicy = vaultv1alpha1.DeletionRetain
	})
	missing := w.ofPath("missing", "production/payments/nothing")

	denied := w.conditionIs(removed, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.conditionIs(retained, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	absent := w.conditionIs(missing, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	for _, want := range []string{w.namespace + "/api", database, "coffer explain " + database + " --service-account " + w.namespace + "/api"} {
		if !strings.Contains(denied.Message, want) {
			t.Errorf("the message %q does not say %q", denied.Message, want)
		}
	}
	if strings.ReplaceAll(denied.Message, database, "P") != strings.ReplaceAll(absent.Message, "production/payments/nothing", "P") {
		t.Errorf("denied (%q) can be told from missing (%q)", denied.Message, absent.Message)
	}
	w.hasEvent(removed, vaultv1alpha1.ReasonDenied)
	if missing.Status.Path == "" {
		t.Error("kubectl get shows no path for a VaultSecret that is refused")
	}
	if w.secret("removed") != nil {
		t.Error("a denied VaultSecret has a Secret")
	}

	policy := w.allow("production/payments/*")
	w.ready(removed)
	w.ready(retained)
	w.holds("removed", map[string]string{"value": "one"})
	w.hasEvent(removed, vaultv1alpha1.ReasonSynced)
	w.conditionIs(missing, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)

	w.delete(policy)
	w.conditionIs(removed, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.conditionIs(retained, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.isGone("removed")
	w.holds("retained", map[string]string{"value": "one"})
	if refreshed(w, removed); removed.Status.Target.Name != "" || len(removed.Status.Sources) != 0 {
		t.Errorf("the status still tells of the Secret that was taken away: %+v", removed.Status)
	}
}

// The access policy on the secret, the secret itself, the environment and the
// account: with each the right to the Secret comes and goes.
func TestAccessComesAndGoes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ revoke, restore func(*world) }{
		"access policy": {
			func(w *world) { w.setAccess(&secret.AccessPolicy{}) },
			func(w *world) { w.setAccess(w.share()) },
		},
		"deleted path": {
			func(w *world) {
				if err := w.vault.Engine.Delete(context.Background(), w.vault.Admin, vaulttest.Path(w.t, database)); err != nil {
					w.t.Fatal(err)
				}
			},
			func(w *world) { w.put(database, "one") },
		},
		"environment of the namespace": {
			func(w *world) { w.setEnvironment("staging") },
			func(w *world) { w.setEnvironment("production") },
		},
		"service account": {
			func(w *world) {
				w.delete(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "api"}})
			},
			func(w *world) { w.createAccount("api") },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := newRunningWorld(t)
			w.put(database, "one")
			object := w.ofPath("payments", database)
			w.ready(object)
			first := w.secret("payments").UID

			test.revoke(w)
			w.isGone("payments")
			reason := vaultv1alpha1.ReasonDenied
			if name == "service account" {
				reason = vaultv1alpha1.ReasonServiceAccountNotFound
			}
			w.conditionIs(object, vaultv1alpha1.ConditionReady, reason)
			w.hasEvent(object, reason)

			test.restore(w)
			w.holds("payments", map[string]string{"value": "one"})
			w.ready(object)
			if w.secret("payments").UID == first {
				t.Error("the Secret was never taken away")
			}
			if object.Status.Target.ContentChangedAt != nil {
				t.Error("the same content counts as changed, and would roll the workloads")
			}
		})
	}
}

func (w *world) setAccess(access *secret.AccessPolicy) {
	w.t.Helper()
	w.vault.PutShared(w.t, database, "one", access)
}

func (w *world) setEnvironment(environment string) {
	w.t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	change(w, namespace, func(n *corev1.Namespace) { n.Labels[vaultv1alpha1.EnvironmentLabel] = environment })
}

// A tenant cannot borrow the rights of another namespace, and the refusal is in the
// audit log with who asked.
func TestAnotherNamespaceIsDenied(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.vault.PutShared(t, database, "one", &secret.AccessPolicy{
		AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"*"},
	})
	object := w.ofPath("stolen", database)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	if w.secret("stolen") != nil {
		t.Error("there is a Secret")
	}
	if got := op.engine.reads.Load(); got != 0 {
		t.Errorf("the vault was asked %d times for the value", got)
	}
	entries, _, err := w.vault.Engine.Audit(t.Context(), w.vault.Admin, audit.Query{PathPrefix: database, Decision: audit.Denied})
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{}
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "api"}, account); err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatal("the audit log has no refusal")
	}
	if e := entries[0]; e.Caller != w.namespace+"/api" || e.CallerUID != string(account.UID) || e.Address != "operator" || e.RequestID == "" || e.Environment != "production" {
		t.Errorf("the audit log says %+v", e)
	}
}

// What the vault's owner replaced is told from what was revoked: nothing is taken
// away when a whole other vault is behind the operator.
func TestReplacedVaultTakesNothingAway(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	op.stop()

	w.vault = vaulttest.Start(t)
	w.startOperator()
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	w.holds("payments", map[string]string{"value": "one"})
	w.put(database, "two")
	w.holds("payments", map[string]string{"value": "two"})
	w.ready(object)
}

// A cluster whose policies the vault does not know yet, as one whose name was
// changed, is served nothing, and one with policies from another day is denied what
// today's allow; no Secret is taken away before those are in force.
func TestUnknownClusterTakesNothingAway(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	before := w.secret("payments")
	op.stop()

	renamed := w.namespace + "-renamed"
	op = w.startOperatorOf(renamed, false)
	w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonVaultUnavailable)
	w.denyAll(renamed)
	denied := w.conditionIs(object, vaultv1alpha1.ConditionReady, vaultv1alpha1.ReasonDenied)
	if !strings.Contains(denied.Message, "not yet in force") {
		t.Errorf("the message is %q", denied.Message)
	}
	op.stop()

	w.startOperatorOf(renamed, true)
	w.ready(object)
	if got := w.secret("payments"); got == nil || got.UID != before.UID {
		t.Error("the Secret was taken away")
	}
}

// A denial from before the policies are in force takes nothing away either when they
// come into force before it is acted on.
func TestDenialFromBeforeTakesNothingAway(t *testing.T) {
	t.Parallel()
	w, op := newRunningWorld(t)
	w.put(database, "one")
	object := w.ofPath("payments", database)
	w.ready(object)
	before := w.secret("payments")
	op.stop()

	renamed := w.namespace + "-renamed"
	w.denyAll(renamed)
	denied := make(chan struct{})
	deny := sync.OnceFunc(func() { close(denied) })
	var late atomic.Bool
	w.startOperatorWith(renamed, true, func(op *operator) {
		op.engine.onReplace = func() { awaits(denied) }
		op.engine.onResolved = func(err error) {
			if errors.Is(err, secret.ErrDenied) {
				deny()
				awaits(op.synced)
				late.Store(op.inForce())
			}
		}
	})
	w.hasEvent(object, vaultv1alpha1.ReasonDenied)
	if !late.Load() {
		t.Error("the policies did not come into force before the denial was acted on")
	}
	w.ready(object)
	if got := w.secret("payments"); got == nil || got.UID != before.UID {
		t.Error("the Secret was taken away")
	}
}

// awaits waits for c, at most the deadline.
func awaits(c <-chan struct{}) {
	select {
	case <-c:
	case <-time.After(deadline):
	}
}

// denyAll gives the cluster policies that no VaultPolicy of it says, as an older
// database may hold.
func (w *world) denyAll(cluster string) {
	w.t.Helper()
	all, err := policy.ParsePattern("**")
	if err != nil {
		w.t.Fatal(err)
	}
	old, err := policy.New("old", []policy.Rule{{
		Effect: policy.Deny, Paths: []policy.Pattern{all}, Capabilities: policy.Capabilities(),
		Subjects: policy.Subjects{Groups: []string{"system:serviceaccounts"}},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.vault.Engine.ReplacePolicies(w.t.Context(), cluster, []policy.Policy{old}); err != nil {
		w.t.Fatal(err)
	}
}
