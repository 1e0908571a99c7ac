package envelope

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// The vectors below were computed outside this program, with Python's hmac and
// cryptography packages, from the drawings in binding.go and box.go: the data key is
// 000102…1f, the nonce 30…3b and the plaintext "opensesame". A change that breaks
// them makes every stored secret unreadable.
const (
	vectorCommitment = "57a7f03e7641e72ef142725dbd9de2f5d2a51878bbbb8aeb1a492fa042e8b1e5"
	vectorBox        = "01" + vectorCommitment + "303132333435363738393a3b" +
		"eaf3cc4409c78fc7a959" + "7f8b9e27f284521c04936db8171b3698"
)

// vectorAAD are the associated data of vectorBinding, piece by piece as drawn at
// Binding.
func vectorAAD(purpose string) []byte {
	return unhex(
		"01", // suite
		hex.EncodeToString([]byte{byte(len(purpose))}), hex.EncodeToString([]byte(purpose)),
		"10", "101112131415161718191a1b1c1d1e1f", // vault
		"10", "202122232425262728292a2b2c2d2e2f", // secret
		"0003", "612f62", // path "a/b"
		"0000000000000102", // version 258
	)
}

func vectorBinding(tb testing.TB) Binding {
	tb.Helper()
	path, err := secret.ParsePath("a/b")
	if err != nil {
		tb.Fatal(err)
	}
	return Binding{
		Vault: [16]byte(sequence(0x10, 16)), Secret: [16]byte(sequence(0x20, 16)), Path: path, Version: 258,
	}
}

func TestAssociatedDataVector(t *testing.T) {
	for _, p := range []purpose{purposeKey, purposeValue} {
		t.Run(string(p), func(t *testing.T) {
			got, err := vectorBinding(t).associatedData(p)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(vectorAAD(string(p)), got); diff != "" {
				t.Errorf("associated data (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAssociatedDataOfTheLongestPath(t *testing.T) {
	path, err := secret.ParsePath(strings.Repeat("a", secret.MaxPathBytes))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Binding{Path: path, Version: 1<<63 - 1}).associatedData(purposeValue); err != nil {
		t.Error(err)
	}
}

func TestExpandVector(t *testing.T) {
	keys, err := expand(sequence(0, dekSize))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(unhex(vectorCommitment), keys.commit); diff != "" {
		t.Errorf("commitment (-want +got):\n%s", diff)
	}
}

func TestBoxVector(t *testing.T) {
	got, err := openBox(sequence(0, dekSize), vectorBinding(t), unhex(vectorBox))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "opensesame" {
		t.Error("the box opened to something else")
	}
}

// TestCommitmentIsChecked makes a box that AES-GCM alone would open.
func TestCommitmentIsChecked(t *testing.T) {
	dek, b := sequence(0, dekSize), vectorBinding(t)
	box, err := sealBox(dek, b, []byte("opensesame"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < headerSize; i++ {
		changed := bytes.Clone(box)
		changed[i] ^= 1
		if _, err := openBox(dek, b, changed); !errors.Is(err, secret.ErrTampered) {
			t.Fatalf("byte %d of the commitment changed: error %v, want ErrTampered", i-1, err)
		}
	}
}

func TestDataKeyOfAnotherSize(t *testing.T) {
	for _, size := range []int{0, 16, 31, 33} {
		if _, err := sealBox(make([]byte, size), vectorBinding(t), nil); err == nil {
			t.Errorf("sealed under a data key of %d bytes", size)
		}
		if _, err := openBox(make([]byte, size), vectorBinding(t), make([]byte, boxOverhead)); !errors.Is(err, secret.ErrTampered) {
			t.Errorf("a data key of %d bytes: error %v, want ErrTampered", size, err)
		}
	}
}

func sequence(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func unhex(parts ...string) []byte {
	b, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		panic(err)
	}
	return b
}
