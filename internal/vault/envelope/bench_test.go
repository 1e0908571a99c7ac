package envelope_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/envelope"
)

const benchmarkSize = 1 << 10

// BenchmarkSealOpen seals and opens 1 KiB with the keyring of production.
func BenchmarkSealOpen(b *testing.B) {
	ring, binding, plaintext := newRing(b), testBinding(b), make([]byte, benchmarkSize)
	b.ReportAllocs()
	b.SetBytes(benchmarkSize)
	for b.Loop() {
		sealed, err := envelope.Seal(b.Context(), ring, binding, plaintext)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := envelope.Open(b.Context(), ring, binding, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSealOpenFloor is the floor: AES-256-GCM alone over the same bytes, with a
// new key each time, as every version has one, and with one key for all.
func BenchmarkSealOpenFloor(b *testing.B) {
	plaintext, aad := make([]byte, benchmarkSize), []byte("associated data")
	key := make([]byte, 32)
	run := func(b *testing.B, seal, open cipher.AEAD) {
		b.Helper()
		if _, err := open.Open(nil, nil, seal.Seal(nil, nil, plaintext, aad), aad); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("new key", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(benchmarkSize)
		for b.Loop() {
			_, _ = rand.Read(key)
			run(b, newGCM(b, key), newGCM(b, key))
		}
	})
	b.Run("one key", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(benchmarkSize)
		gcm := newGCM(b, key)
		for b.Loop() {
			run(b, gcm, gcm)
		}
	})
}

func newGCM(tb testing.TB, key []byte) cipher.AEAD {
	tb.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		tb.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		tb.Fatal(err)
	}
	return aead
}
