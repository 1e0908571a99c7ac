package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/coffer-vault/coffer/internal/vault/cache"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func opens(box []byte) error {
	if string(box) != "box" {
		return secret.ErrTampered
	}
	return nil
}

// TestMissesShareOneQuestion: callers that miss together ask the origin once, and one
// that gives up neither waits nor takes the answer away from the others.
func TestMissesShareOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(nil)
		answer := make(chan struct{})
		asked := 0
		origin := func(ctx context.Context) ([]byte, error) {
			asked++
			<-answer
			return []byte("box"), ctx.Err()
		}
		leader, giveUp := context.WithCancel(t.Context())
		results := make(chan error, 10)
		go func() { results <- c.Open(leader, "name", opens, origin) }()
		synctest.Wait()
		for range 9 {
			go func() { results <- c.Open(t.Context(), "name", opens, origin) }()
		}
		synctest.Wait()
		giveUp()
		if err := <-results; !errors.Is(err, secret.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
		close(answer)
		for range 9 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if asked != 1 {
			t.Errorf("the origin was asked %d times", asked)
		}
	})
}

// TestOpenGivesTheOriginsErrors: an origin that fails, or whose box does not open,
// leaves nothing behind.
func TestOpenGivesTheOriginsErrors(t *testing.T) {
	memory, err := cache.NewMemory(1 << 10)
	if err != nil {
		t.Fatal(err)
	}
	c := cache.New(nil, memory)
	down := errors.New("down")
	for name, test := range map[string]struct {
		box  string
		err  error
		want error
	}{"down": {"", down, down}, "tampered": {"noise", nil, secret.ErrTampered}} {
		err := c.Open(t.Context(), name, opens, func(context.Context) ([]byte, error) { return []byte(test.box), test.err })
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, ok := memory.Get(t.Context(), name); ok {
			t.Errorf("%s: what did not open was kept", name)
		}
	}
}

// TestUnavailableKeysAreNoPoison: a box that cannot be opened now is not taken for a
// false one.
func TestUnavailableKeysAreNoPoison(t *testing.T) {
	memory, err := cache.NewMemory(1 << 10)
	if err != nil {
		t.Fatal(err)
	}
	memory.Put(t.Context(), "name", []byte("box"))
	c := cache.New(func(_ string, result cache.Result) { t.Errorf("counted as %s", result) }, memory)
	err = c.Open(t.Context(), "name", func([]byte) error { return secret.ErrUnavailable },
		func(context.Context) ([]byte, error) { t.Error("the origin was asked"); return nil, nil })
	if !errors.Is(err, secret.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestMemoryIsBounded: whatever is put in, and by however many at a time, the bytes
// kept stay below the bound, and a box above the bound is not kept.
func TestMemoryIsBounded(t *testing.T) {
	const bound, boxSize = 100_000, 1_000
	memory, err := cache.NewMemory(bound)
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 500 {
				memory.Put(t.Context(), fmt.Sprintf("%d/%d", w, i), make([]byte, boxSize))
			}
		})
	}
	writers.Wait()
	memory.Put(t.Context(), "huge", make([]byte, bound+1))
	kept := 0
	for w := range 4 {
		for i := range 500 {
			if box, ok := memory.Get(t.Context(), fmt.Sprintf("%d/%d", w, i)); ok {
				kept += len(box)
			}
		}
	}
	if kept == 0 || kept > bound {
		t.Errorf("%d bytes are kept, the bound is %d", kept, bound)
	}
	if _, ok := memory.Get(t.Context(), "huge"); ok {
		t.Error("a box above the bound is kept")
	}
}
