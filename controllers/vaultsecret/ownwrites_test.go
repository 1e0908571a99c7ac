package vaultsecret

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// TestOwnWritesWakeNobody but others whom the Secret concerns. What else is shown while a
// write is under way, or after it, has its writer look again.
func TestOwnWritesWakeNobody(t *testing.T) {
	request := func(name string) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "payments", Name: name}}
	}
	writer, rival := request("writer"), request("rival")
	all, others := []reconcile.Request{writer, rival, writer}, []reconcile.Request{rival}
	type step struct {
		// One of: a write begins, it ends with a resource version or fails, the Secret is
		// shown, it is deleted, the writer looks for what it has and wrote in another run or
		// in this.
		begins, fails, gone, looks, looksOn bool
		ends, shown                         string
		by                                  reconcile.Request
		wakes                               []reconcile.Request // shown
		again                               bool                // ends, fails
	}
	for name, steps := range map[string][]step{
		"of nobody here":            {{shown: "7", wakes: all}},
		"shown after its end":       {{begins: true}, {ends: "7"}, {shown: "7", wakes: others}, {shown: "7", wakes: all}},
		"shown before its end":      {{begins: true}, {shown: "7", wakes: others}, {ends: "7"}, {shown: "8", wakes: all}},
		"another's after its end":   {{begins: true}, {ends: "7"}, {shown: "8", wakes: all}, {shown: "9", wakes: all}},
		"another's before its end":  {{begins: true}, {shown: "7", wakes: others}, {shown: "8", wakes: others}, {ends: "7", again: true}},
		"another's, its own later":  {{begins: true}, {shown: "6", wakes: others}, {ends: "7", again: true}, {shown: "7", wakes: all}},
		"failed":                    {{begins: true}, {fails: true}, {shown: "7", wakes: all}},
		"failed, and shown":         {{begins: true}, {shown: "7", wakes: others}, {fails: true, again: true}, {shown: "8", wakes: all}},
		"written twice":             {{begins: true}, {ends: "7"}, {begins: true}, {ends: "8"}, {shown: "8", wakes: others}},
		"written twice, shown late": {{begins: true}, {ends: "7"}, {begins: true}, {shown: "7", wakes: others}, {ends: "8", again: true}},
		"deleted after its end":     {{begins: true}, {ends: "7"}, {gone: true}, {shown: "7", wakes: all}},
		"deleted before its end":    {{begins: true}, {gone: true}, {shown: "7", wakes: others}, {ends: "7"}},
		"looked for":                {{begins: true}, {ends: "7"}, {looks: true}, {shown: "7", wakes: all}},
		"looked for in this run":    {{begins: true}, {ends: "7"}, {looksOn: true}, {shown: "7", wakes: others}},
		"looked for by the rival":   {{begins: true}, {ends: "7"}, {looks: true, by: rival}, {shown: "7", wakes: others}},
		"a rival's besides": {
			{begins: true}, {begins: true, by: rival}, {ends: "9", by: rival}, {shown: "7", wakes: others}, {ends: "7"}, {shown: "9", wakes: all},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOwnWrites()
			type writing struct {
				target *corev1.Secret
				end    func(error) bool
			}
			under := map[reconcile.Request]writing{}
			for i, s := range steps {
				target := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "target", ResourceVersion: s.shown}}
				by := writer
				if s.by != (reconcile.Request{}) {
					by = s.by
				}
				again := false
				switch {
				case s.begins:
					under[by] = writing{target, o.begin(by.NamespacedName, target)}
				case s.ends != "":
					under[by].target.ResourceVersion = s.ends
					again = under[by].end(nil)
				case s.fails:
					again = under[by].end(errors.New("broken"))
				case s.gone:
					o.gone(target)
				case s.looks:
					o.release(by.NamespacedName, "")
				case s.looksOn:
					o.release(by.NamespacedName, "target")
				default:
					if diff := cmp.Diff(s.wakes, o.without(target, []reconcile.Request{writer, rival, writer})); diff != "" {
						t.Errorf("step %d wakes (-want +got):\n%s", i+1, diff)
					}
				}
				if len(o.writes) == 0 && len(o.ofEach) > 0 {
					t.Errorf("step %d leaves %v behind", i+1, o.ofEach)
				}
				if again != s.again {
					t.Errorf("step %d: the writer is to look again: %v, want %v", i+1, again, s.again)
				}
			}
		})
	}
}

// empty is a cache that shows no Secret yet.
type empty struct{ client.Client }

func (empty) Get(_ context.Context, key client.ObjectKey, _ client.Object, _ ...client.GetOption) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, key.Name)
}

func (empty) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

type fingerprints struct{ Vault }

func (fingerprints) Fingerprint(string, ...[]byte) string { return "vault" }

// TestAccessEndsBeforeTheSecretIsShown: nothing is found to take away then, so the Secret
// must wake its writer when it is shown.
func TestAccessEndsBeforeTheSecretIsShown(t *testing.T) {
	for name, takeAway := range map[string]func(*Reconciler, *scope) error{
		"withdrawn":          func(r *Reconciler, s *scope) error { return r.withdraw(t.Context(), s) },
		"marked":             func(r *Reconciler, s *scope) error { _, err := r.markRetained(t.Context(), s, "Denied"); return err },
		"under another name": func(r *Reconciler, s *scope) error { s.object.Spec.Target.Name = "new"; return r.prune(t.Context(), s) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScope(&vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "api"}})
			written := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "api", ResourceVersion: "7"}}
			r := &Reconciler{Client: empty{}, Vault: fingerprints{}, own: newOwnWrites()}
			r.own.begin(s.key(), written)(nil)
			if err := takeAway(r, s); err != nil {
				t.Fatal(err)
			}
			asked := []reconcile.Request{{NamespacedName: s.key()}}
			if diff := cmp.Diff(asked, r.own.without(written, asked)); diff != "" {
				t.Errorf("who is woken (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAWriteThatPanicsEnds, since controller-runtime goes on after it.
func TestAWriteThatPanicsEnds(t *testing.T) {
	s := newScope(&vaultv1alpha1.VaultSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "api"}})
	target := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "api", ResourceVersion: "7"}}
	r := &Reconciler{own: newOwnWrites()}
	func() {
		defer func() { _ = recover() }()
		_ = r.written(s, target, func() error { panic("broken") })
	}()
	asked := []reconcile.Request{{NamespacedName: s.key()}}
	if diff := cmp.Diff(asked, r.own.without(target, asked)); diff != "" {
		t.Errorf("who is woken (-want +got):\n%s", diff)
	}
}
