package keyring

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
)

// macSecretSize is that of HMAC-SHA256's output: more adds nothing.
const macSecretSize = sha256.Size

// infoMAC begins the HKDF info of every MAC key; the purpose follows.
const infoMAC = "coffer/mac/"

// macKeys derives and remembers one key for each purpose. Purposes are constants of
// the program, so they are few.
type macKeys struct {
	secret []byte
	keys   sync.Map // purpose string -> []byte
}

func newMACKeys(secret []byte) (*macKeys, error) {
	if len(secret) != macSecretSize {
		return nil, fmt.Errorf("use the keyset: its MAC secret has %d bytes, not %d", len(secret), macSecretSize)
	}
	return &macKeys{secret: secret}, nil
}

// MAC is HMAC-SHA256 over the parts, each after its length in 8 bytes big endian,
// under the key HKDF-SHA256-Expand(MAC secret, "coffer/mac/" + purpose). Other
// purposes, and the same bytes split in other parts, give other MACs. It does not
// change when key-encryption keys or root keys rotate. Purposes are constants of the
// program. Compare MACs with hmac.Equal.
func (r *Ring) MAC(purpose string, parts ...[]byte) [32]byte {
	mac := hmac.New(sha256.New, r.Keyset().macs.key(purpose))
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write(part)
	}
	return [32]byte(mac.Sum(nil))
}

func (m *macKeys) key(purpose string) []byte {
	if key, ok := m.keys.Load(purpose); ok {
		return key.([]byte)
	}
	key, err := hkdf.Expand(sha256.New, m.secret, infoMAC+purpose, sha256.Size)
	if err != nil {
		// Only a length above 255 hashes, or a secret too short for FIPS 140 mode,
		// makes Expand fail, and both lengths are constants.
		panic("keyring: derive a MAC key: " + err.Error())
	}
	m.keys.Store(purpose, key)
	return key
}
