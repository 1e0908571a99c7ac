package vaultsecret

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// TestOwnWritesWakeNobody but others whom the Secret concerns, and only as long as it is as
// it was written.
func TestOwnWritesWakeNobody(t *testing.T) {
	shown := func(name, resourceVersion string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: name, ResourceVersion: resourceVersion}}
	}
	request := func(name string) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "payments", Name: name}}
	}
	writer, rival := request("writer"), request("rival")
	for name, test := range map[string]struct {
		before func(*ownWrites)
		shown  *corev1.Secret
		want   []reconcile.Request
	}{
		"of nobody here":    {func(*ownWrites) {}, shown("target", "7"), []reconcile.Request{writer, rival, writer}},
		"as it was written": {func(o *ownWrites) { o.note(writer.NamespacedName, shown("target", "7")) }, shown("target", "7"), []reconcile.Request{rival}},
		"of somebody else since": {
			func(o *ownWrites) { o.note(writer.NamespacedName, shown("target", "7")) }, shown("target", "8"),
			[]reconcile.Request{writer, rival, writer},
		},
		"another Secret": {
			func(o *ownWrites) { o.note(writer.NamespacedName, shown("target", "7")) }, shown("other", "7"),
			[]reconcile.Request{writer, rival, writer},
		},
		"written twice": {
			func(o *ownWrites) {
				o.note(writer.NamespacedName, shown("target", "7"))
				o.note(writer.NamespacedName, shown("target", "8"))
			},
			shown("target", "8"),
			[]reconcile.Request{rival},
		},
		"shown twice": {
			func(o *ownWrites) {
				o.note(writer.NamespacedName, shown("target", "7"))
				o.without(shown("target", "7"), nil)
			},
			shown("target", "7"),
			[]reconcile.Request{writer, rival, writer},
		},
		"gone meanwhile": {
			func(o *ownWrites) {
				o.note(writer.NamespacedName, shown("target", "7"))
				o.forget(shown("target", "9"))
			},
			shown("target", "7"),
			[]reconcile.Request{writer, rival, writer},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOwnWrites()
			test.before(o)
			if diff := cmp.Diff(test.want, o.without(test.shown, []reconcile.Request{writer, rival, writer})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
