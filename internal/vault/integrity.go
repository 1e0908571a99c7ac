package vault

import (
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Purposes of the engine's MACs. A purpose names the layout of its parts: when
// the layout changes the purpose changes too.
const (
	purposeSecret    = "vault/secret-row/1"
	purposeVersion   = "vault/version-row/1"
	purposePolicies  = "vault/policy-set/1"
	purposeCacheName = "vault/cache-name/1"
	purposeKey       = "vault/key-row/1"
)

// secretMAC covers all that the row says: sealing does not stop an edit of the
// current version or of the access policy.
func (e *Engine) secretMAC(s *store.Secret) []byte {
	var deletedAt []byte
	if s.DeletedAt != nil {
		deletedAt = timeBytes(*s.DeletedAt)
	}
	mac := e.keyring.MAC(purposeSecret, e.vaultID[:], s.ID[:], []byte(s.Path), intBytes(s.Revision),
		intBytes(s.CurrentVersion), intBytes(s.FirstVersion), intBytes(s.LastVersion),
		[]byte(s.Description), jsonBytes(s.Tags), intBytes(int64(s.RotateAfterDays)),
		jsonBytes(s.AllowedServices), jsonBytes(s.AllowedEnvironments), deletedAt)
	return mac[:]
}

// verifySecret also catches an old row put back over a newer one: versions, or the
// tombstone of a deletion, that are newer than the row's last one would then exist.
// Whoever removes those as well is not caught.
func (e *Engine) verifySecret(s *store.Secret) bool {
	return hmac.Equal(s.MAC, e.secretMAC(s)) && s.Newest == s.LastVersion
}

// versionMAC covers what the box's binding does not: who wrote it, and when. The
// wrapped key is left out: it changes when the KEK rotates, and opens only its own
// box.
func (e *Engine) versionMAC(v *store.Version) []byte {
	mac := e.keyring.MAC(purposeVersion, e.vaultID[:], v.SecretID[:], intBytes(v.Version),
		timeBytes(v.CreatedAt), []byte(v.CreatedBy))
	return mac[:]
}

func (e *Engine) verifyVersion(v *store.Version) bool { return hmac.Equal(v.MAC, e.versionMAC(v)) }

// policiesMAC covers a cluster's whole set, so that a missing policy is noticed.
func (e *Engine) policiesMAC(cluster string, set *store.PolicySet) []byte {
	parts := [][]byte{e.vaultID[:], []byte(cluster), intBytes(set.Revision)}
	for _, p := range set.Policies {
		parts = append(parts, []byte(p.Name), p.Rules)
	}
	mac := e.keyring.MAC(purposePolicies, parts...)
	return mac[:]
}

func (e *Engine) verifyPolicies(cluster string, set *store.PolicySet) bool {
	return hmac.Equal(set.MAC, e.policiesMAC(cluster, set))
}

// keyMAC covers all that the row of a key-encryption key says. The revision in it is
// the keyset's, so that a row of an older keyset put back does not verify beside the
// newer one.
func keyMAC(ring Keyring, vaultID store.ID, k store.Key) []byte {
	mac := ring.MAC(purposeKey, vaultID[:], intBytes(k.Revision), intBytes(int64(k.ID)), []byte(k.State), timeBytes(k.CreatedAt))
	return mac[:]
}

// cacheName hides which box is whose from a reader of Redis.
func (e *Engine) cacheName(id store.ID, version int64) string {
	mac := e.keyring.MAC(purposeCacheName, e.vaultID[:], id[:], intBytes(version))
	return hex.EncodeToString(mac[:])
}

func (e *Engine) binding(id store.ID, path secret.Path, version int64) envelope.Binding {
	return envelope.Binding{Vault: e.vaultID, Secret: id, Path: path, Version: version}
}

func intBytes(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func timeBytes(t time.Time) []byte { return intBytes(t.UnixMicro()) }

// jsonBytes is an encoding of a list or a map of strings that has one form for
// each: encoding/json sorts keys. Nil and empty are the same.
func jsonBytes[T []string | map[string]string](v T) []byte {
	if len(v) == 0 {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("vault: strings do not marshal: " + err.Error()) // encoding/json never fails on strings
	}
	return b
}
