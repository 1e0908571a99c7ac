package changes

import (
	"context"
	"sync"
)

// SharedWaker lets any number of followers be woken by one Waker, which runs while
// there is a follower: they share its connection to Redis.
type SharedWaker struct {
	waker Waker

	mu        sync.Mutex
	followers map[*woken]struct{}
	connected bool
	stop      func() // ends the run of waker, and waits for it
}

// woken is one follower.
type woken struct {
	wake      func()
	connected func(bool)
}

// NewSharedWaker returns a waker on waker.
func NewSharedWaker(waker Waker) *SharedWaker {
	return &SharedWaker{waker: waker, followers: map[*woken]struct{}{}}
}

// Run implements Waker.
func (s *SharedWaker) Run(ctx context.Context, wake func(), connected func(bool)) {
	follower := &woken{wake, connected}
	s.add(follower)
	<-ctx.Done()
	s.remove(follower)
	connected(false)
}

func (s *SharedWaker) add(follower *woken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers[follower] = struct{}{}
	follower.connected(s.connected)
	if s.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.waker.Run(ctx, s.wakeAll, func(connected bool) {
			if ctx.Err() == nil { // the last word of a run that ends is not about the next one
				s.setConnected(connected)
			}
		})
	}()
	s.stop = func() { cancel(); <-ended }
}

func (s *SharedWaker) remove(follower *woken) {
	s.mu.Lock()
	delete(s.followers, follower)
	var stop func()
	if len(s.followers) == 0 {
		stop, s.stop, s.connected = s.stop, nil, false
	}
	s.mu.Unlock()
	if stop != nil {
		stop() // not under the lock: the waker may be waking just now
	}
}

func (s *SharedWaker) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for follower := range s.followers {
		follower.wake()
	}
}

func (s *SharedWaker) setConnected(connected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected = connected
	for follower := range s.followers {
		follower.connected(connected)
	}
}
