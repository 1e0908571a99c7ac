package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"hash"
)

// A box of suite 1 is
//
//	 0        1                      33             45
//	┌────────┬──────────────────────┬──────────────┬────────────────┬─────────┐
//	│ suite  │ commitment           │ nonce        │ ciphertext     │ tag     │
//	│ 1 byte │ 32 bytes             │ 12 bytes     │ len(plaintext) │ 16 bytes│
//	└────────┴──────────────────────┴──────────────┴────────────────┴─────────┘
//
// suite says how the rest is read; today it is always 1. The commitment is
// HKDF-SHA256-Expand(data key, "commit"): AES-GCM alone does not commit to its key,
// and someone who knows two data keys could make one box that opens under both.
// Nonce, ciphertext and tag are AES-256-GCM under HKDF-SHA256-Expand(data key,
// "enc") with the Binding as associated data. The nonce is random; as each data key
// seals one box it could as well be constant.
const (
	suite = 1

	dekSize    = 32
	commitSize = sha256.Size
	nonceSize  = 12
	tagSize    = 16

	headerSize  = 1 + commitSize
	boxOverhead = headerSize + nonceSize + tagSize
)

// The infos of the two expansions, each with the number of the block behind it: each is
// one block long.
var (
	infoEncrypt = []byte("enc\x01")
	infoCommit  = []byte("commit\x01")
)

// boxKeys are what a data key expands to.
type boxKeys struct {
	aead   cipher.AEAD
	commit []byte
}

// expand derives both keys of a box. The data key is uniformly random, so HKDF
// needs no extraction. Both are one block of HKDF-Expand, HMAC(data key, info | 1), from
// one HMAC: setting it up is most of the cost.
func expand(dek []byte) (boxKeys, error) {
	if len(dek) != dekSize {
		return boxKeys{}, fmt.Errorf("envelope: the data key has %d bytes, not %d", len(dek), dekSize)
	}
	mac := hmac.New(sha256.New, dek)
	key := expandBlock(mac, infoEncrypt)
	defer clear(key)
	commit := expandBlock(mac, infoCommit)
	block, err := aes.NewCipher(key)
	if err != nil {
		return boxKeys{}, err
	}
	// This AEAD puts a random nonce before the ciphertext by itself.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return boxKeys{}, err
	}
	return boxKeys{aead, commit}, nil
}

// expandBlock is the first block of HKDF-Expand (RFC 5869, section 2.3).
func expandBlock(mac hash.Hash, info []byte) []byte {
	mac.Reset()
	_, _ = mac.Write(info) // a hash never fails
	return mac.Sum(nil)
}

func sealBox(dek []byte, b Binding, plaintext []byte) ([]byte, error) {
	aad, err := b.associatedData(purposeValue)
	if err != nil {
		return nil, err
	}
	keys, err := expand(dek)
	if err != nil {
		return nil, err
	}
	box := make([]byte, 0, boxOverhead+len(plaintext))
	box = append(box, suite)
	box = append(box, keys.commit...)
	return keys.aead.Seal(box, nil, plaintext, aad), nil
}

// openBox returns errTampered for whatever sealBox did not make.
func openBox(dek []byte, b Binding, box []byte) ([]byte, error) {
	if len(box) < boxOverhead || box[0] != suite {
		return nil, errTampered
	}
	aad, err := b.associatedData(purposeValue)
	if err != nil {
		return nil, errTampered
	}
	keys, err := expand(dek)
	if err != nil {
		return nil, errTampered
	}
	// The commitment first: nothing is decrypted under a key that the box does not
	// commit to.
	if subtle.ConstantTimeCompare(box[1:headerSize], keys.commit) != 1 {
		return nil, errTampered
	}
	plaintext, err := keys.aead.Open(nil, nil, box[headerSize:], aad)
	if err != nil {
		return nil, errTampered
	}
	return plaintext, nil
}
