package keyring

import (
	"encoding/hex"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"pgregory.net/rapid"
)

// TestMACVectors has vectors computed outside this program (Python's hmac) from the
// MAC secret 40…5f. A change that breaks them makes every row of every vault fail its
// integrity check.
func TestMACVectors(t *testing.T) {
	secret := make([]byte, macSecretSize)
	for i := range secret {
		secret[i] = 0x40 + byte(i)
	}
	ring := ringWithSecret(t, secret)
	for want, parts := range map[string][][]byte{
		"b9594b5ee0007ae38f7e30a1e702ba8716f71b7e22f9793aa4c15d759765ad3e": nil,
		"87bdd12daca5e77c48068c275c20c7e312c16c7557752dbf9eff9a3e852c6b82": {nil},
		"6e0ab96afd2e2ffa3b167b066936e2a2b176a1b05f0757576ab6f86aba2b2234": {[]byte("ab"), []byte("c")},
		"3f87e211b348a7ef7408f7a2a62709ce9fa9476f69e27bd6f29c42a13cb4e558": {[]byte("a"), []byte("bc")},
	} {
		if got := ring.MAC("test", parts...); hex.EncodeToString(got[:]) != want {
			t.Errorf("MAC of %q is %x, want %s", parts, got, want)
		}
	}
}

func TestMACTellsPurposesAndPartsApart(t *testing.T) {
	ring := ringWithSecret(t, make([]byte, macSecretSize))
	parts := rapid.SliceOfN(rapid.SliceOfN(rapid.ByteMax(2), 0, 3), 0, 4)
	purposes := rapid.SampledFrom([]string{"", "a", "ab", "b"})
	rapid.Check(t, func(t *rapid.T) {
		p, q := purposes.Draw(t, "purpose"), purposes.Draw(t, "other purpose")
		a, b := parts.Draw(t, "parts"), parts.Draw(t, "other parts")
		same := p == q && len(a) == len(b)
		for i := range a {
			same = same && string(a[i]) == string(b[i])
		}
		if got := ring.MAC(p, a...) == ring.MAC(q, b...); got != same {
			t.Fatalf("equal MACs: %v, want %v", got, same)
		}
	})
}

func TestMACSecretHasOneSize(t *testing.T) {
	for _, size := range []int{0, 16, 31, 33} {
		if _, err := newMACKeys(make([]byte, size)); err == nil {
			t.Errorf("a MAC secret of %d bytes was accepted", size)
		}
	}
}

// TestMACOutlivesKeys rotates the key-encryption key and the root key.
func TestMACOutlivesKeys(t *testing.T) {
	ring := ringWithSecret(t, make([]byte, macSecretSize))
	aad := []byte{1}
	wrapped, err := ring.Wrap(t.Context(), make([]byte, 32), aad)
	if err != nil {
		t.Fatal(err)
	}
	added, id, err := ring.Keyset().Add()
	if err != nil {
		t.Fatal(err)
	}
	promoted, err := added.Promote(id)
	if err != nil {
		t.Fatal(err)
	}
	root, err := CheapPassphraseRoot([]byte("correct horse battery staple"))
	if err != nil {
		t.Fatal(err)
	}
	stored, err := promoted.wrap(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	rotated, err := Load(t.Context(), root, stored)
	if err != nil {
		t.Fatal(err)
	}
	if ring.MAC("p", aad) != rotated.MAC("p", aad) {
		t.Error("the MAC changed")
	}
	if _, err := rotated.Unwrap(t.Context(), wrapped, aad); err != nil {
		t.Errorf("a data key wrapped before: %v", err)
	}
	again, err := rotated.Wrap(t.Context(), make([]byte, 32), aad)
	if err != nil {
		t.Fatal(err)
	}
	if string(again[1:5]) == string(wrapped[1:5]) {
		t.Error("the promoted key does not wrap")
	}
}

func ringWithSecret(t *testing.T, secret []byte) *Ring {
	t.Helper()
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	macs, err := newMACKeys(secret)
	if err != nil {
		t.Fatal(err)
	}
	k, err := useKeyset(firstRevision, handle, macs)
	if err != nil {
		t.Fatal(err)
	}
	ring := &Ring{}
	ring.current.Store(&loaded{Keyset: k})
	return ring
}
