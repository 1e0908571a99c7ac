package vaultsecret

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
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
		// shown, it is deleted.
		begins, fails, gone bool
		ends, shown         string
		by                  reconcile.Request
		wakes               []reconcile.Request // shown
		again               bool                // ends, fails
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
				default:
					if diff := cmp.Diff(s.wakes, o.without(target, []reconcile.Request{writer, rival, writer})); diff != "" {
						t.Errorf("step %d wakes (-want +got):\n%s", i+1, diff)
					}
				}
				if again != s.again {
					t.Errorf("step %d: the writer is to look again: %v, want %v", i+1, again, s.again)
				}
			}
		})
	}
}
