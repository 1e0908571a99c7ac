package vaultsecret

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
)

// propagation measures how long changes of the vault are on their way to Secrets. It
// keeps, for each VaultSecret that a change asks to look at, when the earliest was
// committed, until a reconcile that began after it has dealt with it.
type propagation struct {
	seconds prometheus.Histogram

	mu      sync.Mutex
	changes map[types.NamespacedName]travel
}

// travel are the commit times of the earliest change that waits for a reconcile, and of
// the earliest that one is at work on; zero for none. A change that comes while a
// reconcile is at work may be too late for it.
type travel struct{ waiting, taken time.Time }

func newPropagation() *propagation {
	return &propagation{
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "coffer_propagation_seconds",
			Help:    "Time from the commit of a change in the vault to the written Secret.",
			Buckets: []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}),
		changes: map[types.NamespacedName]travel{},
	}
}

// earliest of two times; a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// update changes what is known of key, and forgets key when nothing is left.
func (p *propagation) update(key types.NamespacedName, f func(*travel)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.changes[key]
	f(&t)
	if t == (travel{}) {
		delete(p.changes, key)
		return
	}
	p.changes[key] = t
}

// enqueued notes that a change asks for a reconcile of key.
func (p *propagation) enqueued(key types.NamespacedName, committedAt time.Time) {
	p.update(key, func(t *travel) { t.waiting = earliest(t.waiting, committedAt) })
}

// begun notes that a reconcile of key begins, which sees every change until now.
func (p *propagation) begun(key types.NamespacedName) {
	p.update(key, func(t *travel) { *t = travel{taken: earliest(t.taken, t.waiting)} })
}

// written notes that the reconcile of key has written the Secret.
func (p *propagation) written(key types.NamespacedName, now time.Time) {
	p.update(key, func(t *travel) {
		if !t.taken.IsZero() {
			p.seconds.Observe(max(0, now.Sub(t.taken).Seconds()))
		}
		t.taken = time.Time{}
	})
}

// settled notes that the reconcile of key needs no other for what it began with: the
// Secret was right, or cannot be made so.
func (p *propagation) settled(key types.NamespacedName) {
	p.update(key, func(t *travel) { t.taken = time.Time{} })
}

// ended notes that the reconcile of key is over. What it neither wrote nor settled
// waits for the next.
func (p *propagation) ended(key types.NamespacedName) {
	p.update(key, func(t *travel) { *t = travel{waiting: earliest(t.waiting, t.taken)} })
}

// forget drops what is known of a VaultSecret that is gone.
func (p *propagation) forget(key types.NamespacedName) {
	p.update(key, func(t *travel) { *t = travel{} })
}

// oldest is when the earliest change was committed that is still on its way; zero when
// there is none.
func (p *propagation) oldest() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var oldest time.Time
	for _, t := range p.changes {
		oldest = earliest(oldest, earliest(t.waiting, t.taken))
	}
	return oldest
}
