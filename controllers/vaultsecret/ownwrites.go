package vaultsecret

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// ownWrites knows the last write of each Secret by the operator until the cache shows it, so
// that who wrote it need not look at it again. A write that the cache shows before it is
// known here costs that look, and no more.
type ownWrites struct {
	mu     sync.Mutex
	writes map[types.NamespacedName]ownWrite // by the Secret's name
}

type ownWrite struct {
	resourceVersion string
	by              types.NamespacedName // a VaultSecret
}

func newOwnWrites() *ownWrites { return &ownWrites{writes: map[types.NamespacedName]ownWrite{}} }

// note says that the VaultSecret by wrote the Secret, which is as the API server returned it.
func (o *ownWrites) note(by types.NamespacedName, written client.Object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes[client.ObjectKeyFromObject(written)] = ownWrite{resourceVersion: written.GetResourceVersion(), by: by}
}

// without takes from requests who wrote the Secret as it is shown now.
func (o *ownWrites) without(shown client.Object, requests []reconcile.Request) []reconcile.Request {
	key := client.ObjectKeyFromObject(shown)
	o.mu.Lock()
	defer o.mu.Unlock()
	last := o.writes[key]
	if last.resourceVersion != shown.GetResourceVersion() {
		return requests
	}
	delete(o.writes, key)
	return slices.DeleteFunc(requests, func(r reconcile.Request) bool { return r.NamespacedName == last.by })
}

// forget lets go of a Secret that is gone.
func (o *ownWrites) forget(gone client.Object) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.writes, client.ObjectKeyFromObject(gone))
}
