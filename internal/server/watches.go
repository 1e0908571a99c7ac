package server

import (
	"sync"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// WatchLimits bounds the watches of one server. Zero fields have defaults.
type WatchLimits struct {
	// All, OfNamespace and OfCaller are how many there may be at a time: of all callers, of
	// those of one namespace, and of one; 1024, 256 and 128. Callers without a namespace, users,
	// count as those of one: who may make names, such as a pipeline for each branch, leaves
	// service accounts their share. Each watch reads Postgres when something changed.
	All, OfNamespace, OfCaller int
	// Check is how often the caller is authenticated again and told that the watch is
	// there; 10 s, for which an answer about a token is believed.
	Check time.Duration
	// Patience is what a client may take to read what it is sent; 10 s.
	Patience time.Duration
}

func (l WatchLimits) withDefaults() WatchLimits {
	if l.All == 0 {
		l.All = 1024
	}
	if l.OfNamespace == 0 {
		l.OfNamespace = 256
	}
	if l.OfCaller == 0 {
		l.OfCaller = 128
	}
	if l.Check == 0 {
		l.Check = 10 * time.Second
	}
	if l.Patience == 0 {
		l.Patience = 10 * time.Second
	}
	return l
}

// watches counts the watches under way.
type watches struct {
	limits WatchLimits

	mu          sync.Mutex
	all         int
	byNamespace map[string]int // those above 0, and so
	byCaller    map[string]int
}

func newWatches(l WatchLimits) *watches {
	return &watches{limits: l.withDefaults(), byNamespace: map[string]int{}, byCaller: map[string]int{}}
}

// enter counts a watch of the caller in, when there is room.
func (w *watches) enter(caller secret.Caller) (leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, namespace := callerKey(caller), caller.Cluster+" "+caller.Namespace
	if w.all >= w.limits.All || w.byNamespace[namespace] >= w.limits.OfNamespace || w.byCaller[key] >= w.limits.OfCaller {
		return nil, false
	}
	w.all++
	w.byNamespace[namespace]++
	w.byCaller[key]++
	return sync.OnceFunc(func() { w.leave(key, namespace) }), true
}

func (w *watches) leave(caller, namespace string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	takeOne(w.byNamespace, namespace)
	takeOne(w.byCaller, caller)
}

func takeOne(of map[string]int, key string) {
	if of[key]--; of[key] == 0 {
		delete(of, key)
	}
}
