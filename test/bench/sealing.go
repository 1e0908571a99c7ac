package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"runtime"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// sealing is the time of sealing and opening 1 KiB with the production's keyring, and
// of AES-256-GCM alone under one key over the same bytes.
func (e *environment) sealing() figure {
	return figure{"seal and open of 1 KiB", "µs", "<= 8", func(ctx context.Context, d time.Duration) (float64, float64, error) {
		ours, floor, err := e.sealers(ctx)
		if err != nil {
			return 0, 0, err
		}
		a, err := perCall(d/4, ours)
		if err != nil {
			return 0, 0, err
		}
		b, err := perCall(d/4, floor)
		return a, b, err
	}}
}

// sealAllocations is what one seal and open allocates.
func (e *environment) sealAllocations() figure {
	return figure{"allocations of seal and open", "", "<= 10 ours", func(ctx context.Context, _ time.Duration) (float64, float64, error) {
		ours, floor, err := e.sealers(ctx)
		if err != nil {
			return 0, 0, err
		}
		a, err := allocations(ours)
		if err != nil {
			return 0, 0, err
		}
		b, err := allocations(floor)
		return a, b, err
	}}
}

func (e *environment) sealers(ctx context.Context) (ours, floor func() error, err error) {
	wrapped, err := keyring.Generate(ctx, e.root)
	if err != nil {
		return nil, nil, err
	}
	ring, err := keyring.Load(ctx, e.root, wrapped)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := secret.ParsePath(path)
	if err != nil {
		return nil, nil, err
	}
	binding := envelope.Binding{Vault: [16]byte{1}, Secret: [16]byte{2}, Path: parsed, Version: 1}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, nil, err
	}
	ours = func() error {
		sealed, err := envelope.Seal(ctx, ring, binding, e.value)
		if err != nil {
			return err
		}
		_, err = envelope.Open(ctx, ring, binding, sealed)
		return err
	}
	floor = func() error {
		_, err := gcm.Open(nil, nil, gcm.Seal(nil, nil, e.value, []byte(path)), []byte(path))
		return err
	}
	return ours, floor, nil
}

// perCall is how many microseconds a call takes.
func perCall(d time.Duration, f func() error) (float64, error) {
	n, begin := 0, time.Now()
	for time.Since(begin) < d {
		for range 100 {
			if err := f(); err != nil {
				return 0, err
			}
		}
		n += 100
	}
	return time.Since(begin).Seconds() * 1e6 / float64(n), nil
}

func allocations(f func() error) (float64, error) {
	const calls = 10_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		if err := f(); err != nil {
			return 0, err
		}
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs - before.Mallocs) / calls), nil
}
