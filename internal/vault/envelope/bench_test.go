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

// BenchmarkSealOpenFloor is the floor of docs/performance.md: AES-256-GCM alone over
// the same bytes, with a new key each time as every version has one.
func BenchmarkSealOpenFloor(b *testing.B) {
	plaintext, aad := make([]byte, benchmarkSize), []byte("associated data")
	key := make([]byte, 32)
	b.ReportAllocs()
	b.SetBytes(benchmarkSize)
	for b.Loop() {
		_, _ = rand.Read(key)
		box := newGCM(b, key).Seal(nil, nil, plaintext, aad)
		if _, err := newGCM(b, key).Open(nil, nil, box, aad); err != nil {
			b.Fatal(err)
		}
	}
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
