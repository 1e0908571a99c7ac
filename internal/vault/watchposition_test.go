package vault

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// TestWatcherGetsAPositionEachMinute: at the beginning, and then when a minute has
// passed in which it got none, whatever others do.
func TestWatcherGetsAPositionEachMinute(t *testing.T) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := aead.New(handle)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		e := &Engine{positions: func() (changes.Positions, error) { return changes.Positions{Sealer: sealer}, nil }}
		var came []time.Duration
		began := time.Now()
		below, err := secret.ParsePrefix("mine")
		if err != nil {
			t.Fatal(err)
		}
		w := &watcher{engine: e, scope: Scope{Prefix: below}, handle: func(_ context.Context, events []Event, _ changes.Position) error {
			if len(events) > 0 {
				t.Errorf("events %v", events)
			}
			came = append(came, time.Since(began))
			return nil
		}}
		path, err := secret.ParsePath("other/one")
		if err != nil {
			t.Fatal(err)
		}
		others := []changes.Change{{Kind: changes.Put, Path: path, Version: 1}, {Kind: changes.Policy, Cluster: "another"}}
		for i := range 40 {
			if err := w.deliver(t.Context(), others[:i%3], changes.NewCursor(changes.Start{})); err != nil {
				t.Fatal(err)
			}
			<-time.After(5 * time.Second) // of the bubble's clock
		}
		want := []time.Duration{0, time.Minute, 2 * time.Minute, 3 * time.Minute}
		if len(came) != len(want) {
			t.Fatalf("positions after %v, want %v", came, want)
		}
		for i := range want {
			if came[i] != want[i] {
				t.Errorf("positions after %v, want %v", came, want)
			}
		}
	})
}
