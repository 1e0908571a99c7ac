package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestRefusalsAreHeld for a moment, unless the client is gone or there are too many.
func TestRefusalsAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHolder()
		took := func(ctx context.Context) time.Duration {
			begin := time.Now()
			h.wait(ctx)
			return time.Since(begin)
		}
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		if d := took(t.Context()); d != holdFor {
			t.Errorf("held for %v, want %v", d, holdFor)
		}
		if d := took(gone); d != 0 {
			t.Errorf("held for %v when the client was gone", d)
		}
		for range maxHeld {
			go h.wait(t.Context())
		}
		synctest.Wait()
		if d := took(t.Context()); d != 0 {
			t.Errorf("held for %v when %d others are", d, maxHeld)
		}
		<-time.After(holdFor) // of the bubble
		synctest.Wait()
		if d := took(t.Context()); d != holdFor {
			t.Errorf("held for %v once there is room again, want %v", d, holdFor)
		}
	})
}
