package server

import (
	"sync"
	"time"
)

// WatchLimits bounds the watches of one server. Zero fields have defaults.
type WatchLimits struct {
	// All and OfCaller are how many there may be at a time, of all callers and of one;
	// 1024 and 128. Each reads Postgres when something changed.
	All, OfCaller int
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

	mu       sync.Mutex
	all      int
	byCaller map[string]int // those above 0
}

func newWatches(l WatchLimits) *watches {
	return &watches{limits: l.withDefaults(), byCaller: map[string]int{}}
}

// enter counts a watch of the caller in, when there is room.
func (w *watches) enter(caller string) (leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= w.limits.All || w.byCaller[caller] >= w.limits.OfCaller {
		return nil, false
	}
	w.all++
	w.byCaller[caller]++
	return sync.OnceFunc(func() { w.leave(caller) }), true
}

func (w *watches) leave(caller string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.byCaller[caller]--; w.byCaller[caller] == 0 {
		delete(w.byCaller, caller)
	}
}
