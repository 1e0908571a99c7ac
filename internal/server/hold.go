package server

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"
)

// A refusal is held back for holdFor, so that a client that asks again as fast as it is
// answered spends its time waiting and not the server's: without this, 200 connections that
// ignore Retry-After took the processor from everybody else. It is short beside the
// second that Retry-After asks for. At most maxHeld are held at a time, at some KiB each;
// further ones are answered at once.
const (
	holdFor = 500 * time.Millisecond
	maxHeld = 4096
)

// holder holds refusals back.
type holder struct{ room *semaphore.Weighted }

func newHolder() holder { return holder{room: semaphore.NewWeighted(maxHeld)} }

// wait returns after holdFor, when ctx ends, or at once when there is no room.
func (h holder) wait(ctx context.Context) {
	if !h.room.TryAcquire(1) {
		return
	}
	defer h.room.Release(1)
	timer := time.NewTimer(holdFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
