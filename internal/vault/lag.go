package vault

import (
	"sync"
	"time"
)

// lag knows when each follower of this process last had every change.
type lag struct {
	mu       sync.Mutex
	caughtUp map[*followed]time.Time
}

func (l *lag) set(f *followed, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.caughtUp == nil {
		l.caughtUp = map[*followed]time.Time{}
	}
	l.caughtUp[f] = at
}

func (l *lag) forget(f *followed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.caughtUp, f)
}

// worst is the lag of the follower that is furthest behind; 0 without one.
func (l *lag) worst() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var worst time.Duration
	for _, at := range l.caughtUp {
		worst = max(worst, time.Since(at))
	}
	return worst
}

// followed is the changes.Observer of one follower.
type followed struct{ metrics *metrics }

// Delivered implements changes.Observer.
func (f *followed) Delivered(after time.Duration) { f.metrics.delivery.Observe(after.Seconds()) }

// CaughtUp implements changes.Observer.
func (f *followed) CaughtUp() { f.metrics.lag.set(f, time.Now()) }
