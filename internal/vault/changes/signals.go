package changes

import (
	"sync/atomic"
	"time"
)

// signals passes what a Waker says to the loop of a follower.
type signals struct {
	woken     chan struct{} // holds at most one: wakes coalesce
	connected atomic.Bool
}

func newSignals() *signals { return &signals{woken: make(chan struct{}, 1)} }

func (s *signals) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// setConnected wakes on every turn: changes announced before a connection stands
// were not heard, and after it broke the shorter poll begins.
func (s *signals) setConnected(connected bool) {
	if s.connected.Swap(connected) != connected {
		s.wake()
	}
}

func (s *signals) pollInterval() time.Duration {
	if s.connected.Load() {
		return pollConnected
	}
	return pollAlone
}
