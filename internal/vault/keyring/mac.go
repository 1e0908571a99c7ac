package keyring

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// macSecretSize is that of HMAC-SHA256's output: more adds nothing.
const macSecretSize = sha256.Size

// infoMAC begins the HKDF info of every MAC key; the purpose follows.
const infoMAC = "coffer/mac/"

// macKeys derives one key for each purpose, and keeps HMACs that are ready to use with
// it: to set one up takes as long as to compute it over a row. Purposes are constants of
// the program, so they are few.
type macKeys struct {
	secret []byte
	ready  sync.Map // purpose string -> *sync.Pool of *readyMAC
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
	pool := r.Keyset().macs.of(purpose)
	mac := pool.Get().(*readyMAC)
	defer pool.Put(mac)
	mac.Reset()
	for _, part := range parts {
		binary.BigEndian.PutUint64(mac.length[:], uint64(len(part)))
		mac.Write(mac.length[:])
		mac.Write(part)
	}
	return [32]byte(mac.Sum(mac.sum[:0]))
}

// readyMAC is an HMAC with the room that it needs, so that using it allocates nothing.
type readyMAC struct {
	hash.Hash
	length [8]byte
	sum    [sha256.Size]byte
}

func (m *macKeys) of(purpose string) *sync.Pool {
	if pool, ok := m.ready.Load(purpose); ok {
		return pool.(*sync.Pool)
	}
	key, err := hkdf.Expand(sha256.New, m.secret, infoMAC+purpose, sha256.Size)
	if err != nil {
		// Only a length above 255 hashes, or a secret too short for FIPS 140 mode,
		// makes Expand fail, and both lengths are constants.
		panic("keyring: derive a MAC key: " + err.Error())
	}
	pool, _ := m.ready.LoadOrStore(purpose, &sync.Pool{New: func() any { return &readyMAC{Hash: hmac.New(sha256.New, key)} }})
	return pool.(*sync.Pool)
}
