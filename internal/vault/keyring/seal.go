package keyring

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/tink"
)

// infoSeal begins the HKDF info of every key of Sealer; the purpose follows.
const infoSeal = "coffer/seal/"

// Sealer seals what the vault hands out to get it back unread and unchanged, with
// XAES-256-GCM under HKDF-SHA256-Expand(MAC secret, "coffer/seal/" + purpose). As with
// MAC the key is the same for the life of the vault, and the purpose a constant of the
// program.
func (r *Ring) Sealer(purpose string) (tink.AEAD, error) {
	key, err := hkdf.Expand(sha256.New, r.Keyset().macs.secret, infoSeal+purpose, rootKeySize)
	if err != nil {
		return nil, fmt.Errorf("derive the key of %s: %w", purpose, err)
	}
	return newXAES(key)
}
