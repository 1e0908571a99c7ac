package clustervaultsecret

import (
	"sync"
	"time"
)

// withheld is since when the status of each ClusterVaultSecret waits, by its name. It is
// for one process: another leader begins anew, and waits no longer than this one may.
type withheld struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// bounded is how much of wait the status may still wait: it is written after settleTime at
// the latest. Else whoever deletes, or edits, the VaultSecret of one namespace again and
// again would keep it back for all. 0 means to write it now.
func (w *withheld) bounded(name string, wait time.Duration, now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	since, waits := w.since[name]
	if !waits {
		since = now
	}
	if wait = min(wait, settleTime-now.Sub(since)); wait <= 0 {
		delete(w.since, name)
		return 0
	}
	if w.since == nil {
		w.since = map[string]time.Time{}
	}
	w.since[name] = since
	return wait
}

// forget is for one that is gone.
func (w *withheld) forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.since, name)
}
