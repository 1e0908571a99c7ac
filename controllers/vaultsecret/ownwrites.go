package vaultsecret

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// ownWrites knows the operator's writes of Secrets from their beginning until the cache
// shows them, so that who wrote one need not look at it again. The cache may show it before
// the API server's answer is there: so nobody is woken while a write is under way, and its
// end tells whether the cache showed anything else meanwhile.
type ownWrites struct {
	mu     sync.Mutex
	writes map[types.NamespacedName]*ownWrite                     // by the Secret's name
	ofEach map[types.NamespacedName]map[types.NamespacedName]bool // the Secrets of writes by who wrote
}

type ownWrite struct {
	by types.NamespacedName // a VaultSecret
	// written is the resource version, empty while the write is under way.
	written string
	// shown are the resource versions that the cache showed while it was.
	shown []string
}

func newOwnWrites() *ownWrites {
	return &ownWrites{writes: map[types.NamespacedName]*ownWrite{}, ofEach: map[types.NamespacedName]map[types.NamespacedName]bool{}}
}

// add and drop are called with the lock held.
func (o *ownWrites) add(key types.NamespacedName, write *ownWrite) {
	o.drop(key)
	o.writes[key] = write
	if o.ofEach[write.by] == nil {
		o.ofEach[write.by] = map[types.NamespacedName]bool{}
	}
	o.ofEach[write.by][key] = true
}

func (o *ownWrites) drop(key types.NamespacedName) {
	write := o.writes[key]
	if write == nil {
		return
	}
	delete(o.writes, key)
	delete(o.ofEach[write.by], key)
	if len(o.ofEach[write.by]) == 0 {
		delete(o.ofEach, write.by)
	}
}

// begin says that the VaultSecret by is about to write the Secret. The result must be
// called when that is done, with the Secret as the API server returned it, or the error. It
// reports whether by has to look at the Secret again.
func (o *ownWrites) begin(by types.NamespacedName, target client.Object) (end func(error) bool) {
	key := client.ObjectKeyFromObject(target)
	o.mu.Lock()
	defer o.mu.Unlock()
	if other := o.writes[key]; other != nil && other.written == "" {
		return func(error) bool { return false } // of a rival: nobody is kept from looking here
	}
	write := &ownWrite{by: by}
	o.add(key, write)
	return func(err error) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		if err != nil {
			o.drop(key)
			return len(write.shown) > 0
		}
		write.written = target.GetResourceVersion()
		if len(write.shown) == 0 {
			return false
		}
		o.drop(key) // the cache has shown it, or what came after it
		return slices.ContainsFunc(write.shown, func(version string) bool { return version != write.written })
	}
}

// without takes from requests who writes the Secret, or wrote it as it is shown now.
func (o *ownWrites) without(shown client.Object, requests []reconcile.Request) []reconcile.Request {
	key := client.ObjectKeyFromObject(shown)
	o.mu.Lock()
	defer o.mu.Unlock()
	write := o.writes[key]
	switch {
	case write == nil:
		return requests
	case write.written == "":
		write.shown = append(write.shown, shown.GetResourceVersion())
	case write.written == shown.GetResourceVersion():
		o.drop(key)
	default:
		o.drop(key) // it was overtaken: what is shown is another's
		return requests
	}
	return slices.DeleteFunc(requests, func(r reconcile.Request) bool { return r.NamespacedName == write.by })
}

// gone says that the Secret was deleted. A write that is under way makes it anew.
func (o *ownWrites) gone(deleted client.Object) {
	key := client.ObjectKeyFromObject(deleted)
	o.mu.Lock()
	defer o.mu.Unlock()
	if write := o.writes[key]; write != nil && write.written != "" {
		o.drop(key)
	}
}

// release has the VaultSecret by woken by whatever it wrote and the cache has not shown yet,
// but for the Secret except: it looks for what it has, and that may not be there yet.
func (o *ownWrites) release(by types.NamespacedName, except string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key := range o.ofEach[by] {
		if key.Name != except {
			o.drop(key)
		}
	}
}
