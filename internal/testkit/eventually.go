package testkit

import (
	"testing"
	"time"
)

// Eventually waits until ok says "", and fails the test with what it said last when that takes longer than within.
func Eventually(t testing.TB, within time.Duration, ok func() string) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		said := ok()
		if said == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %v: %s", within, said)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(said)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
