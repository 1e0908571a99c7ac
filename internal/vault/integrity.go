package vault

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// Purposes of the engine's MACs. A purpose names the layout of its parts: when
// the layout changes the purpose changes too.
const (
	purposeSecret    = "vault/secret-row/2"
	purposeVersion   = "vault/version-row/2"
	purposePolicies  = "vault/policy-set/1"
	purposeCacheName = "vault/cache-name/1"
	// Rows from before versions had labels and states.
	purposeSecretV1  = "vault/secret-row/1"
	purposeVersionV1 = "vault/version-row/1"
	purposeKey       = "vault/key-row/1"

	purposeConsumer    = "vault/consumer-row/1"
	purposeConsumerSet = "vault/consumer-set/1"
	purposeReader      = "vault/reader-row/1"

	// Rotations: a cluster's set, a run, and a step of its history.
	purposeRotations    = "vault/rotation-set/1"
	purposeRotationRun  = "vault/rotation-run/1"
	purposeRotationStep = "vault/rotation-step/1"

	purposeNotification = "vault/notification/1"
)

// secretMAC covers all that the row says: sealing does not stop an edit of the
// current version or of the access policy.
func (e *Engine) secretMAC(s *store.Secret) []byte {
	parts := append(e.secretParts(s), intBytes(s.PreviousVersion), intBytes(s.PendingVersion), intBytes(int64(s.MaxVersions)),
		intBytes(s.AmendedRevision), optionalTimeBytes(s.DestroyedAt))
	mac := e.keyring.MAC(purposeSecret, parts...)
	return mac[:]
}

// secretParts are what both layouts cover.
func (e *Engine) secretParts(s *store.Secret) [][]byte {
	return [][]byte{
		e.vaultID[:], s.ID[:], []byte(s.Path), intBytes(s.Revision),
		intBytes(s.CurrentVersion), intBytes(s.FirstVersion), intBytes(s.LastVersion),
		[]byte(s.Description), jsonBytes(s.Tags), intBytes(int64(s.RotateAfterDays)),
		jsonBytes(s.AllowedServices), jsonBytes(s.AllowedEnvironments), optionalTimeBytes(s.DeletedAt),
	}
}

// verifySecret also catches an old row put back over a newer one: versions,
// tombstones or amendments that are newer than the row's last ones would then exist.
// Whoever removes those as well is not caught.
func (e *Engine) verifySecret(s *store.Secret) bool {
	if s.Newest != s.LastVersion || s.NewestAmendment != s.AmendedRevision {
		return false
	}
	if hmac.Equal(s.MAC, e.secretMAC(s)) {
		return true
	}
	if s.PreviousVersion != 0 || s.PendingVersion != 0 || s.MaxVersions != 0 || s.AmendedRevision != 0 || s.DestroyedAt != nil {
		return false
	}
	mac := e.keyring.MAC(purposeSecretV1, e.secretParts(s)...)
	return hmac.Equal(s.MAC, mac[:])
}

// versionMAC covers what the box's binding does not: who wrote it and when, and its
// state. The wrapped key is left out: it changes when the KEK rotates, and opens only
// its own box.
func (e *Engine) versionMAC(v *store.Version) []byte {
	var deletion []byte
	if v.Deletion {
		deletion = []byte{1}
	}
	parts := append(e.versionParts(v), deletion, optionalTimeBytes(v.DeletedAt), optionalTimeBytes(v.DestroyedAt), intBytes(v.AmendedRevision))
	mac := e.keyring.MAC(purposeVersion, parts...)
	return mac[:]
}

// versionParts are what both layouts cover.
func (e *Engine) versionParts(v *store.Version) [][]byte {
	return [][]byte{e.vaultID[:], v.SecretID[:], intBytes(v.Version), timeBytes(v.CreatedAt), []byte(v.CreatedBy)}
}

// verifyVersion also catches a row from before a change of the version's state put
// back over the newer one, as verifySecret does.
func (e *Engine) verifyVersion(v *store.Version) bool {
	if v.NewestAmendment != v.AmendedRevision {
		return false
	}
	if hmac.Equal(v.MAC, e.versionMAC(v)) {
		return true
	}
	// The deletions of the former layout are those without a wrapped key.
	if v.DeletedAt != nil || v.DestroyedAt != nil || v.AmendedRevision != 0 || v.Deletion != (len(v.WrappedKey) == 0) {
		return false
	}
	mac := e.keyring.MAC(purposeVersionV1, e.versionParts(v)...)
	return hmac.Equal(v.MAC, mac[:])
}

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

// consumerMAC covers all that the row says: a row that was changed could have a credential
// taken away that is still in use.
func (e *Engine) consumerMAC(c *store.Consumer) []byte {
	mac := e.keyring.MAC(purposeConsumer, e.vaultID[:], []byte(c.Cluster), []byte(c.Kind), []byte(c.Namespace), []byte(c.Name), []byte(c.Path),
		[]byte(c.UID), intBytes(c.Version), intBytes(int64(c.Workloads)), intBytes(int64(c.Rolled)), []byte(c.State), timeBytes(c.Since), timeBytes(c.SeenAt))
	return mac[:]
}

func (e *Engine) verifyConsumer(c *store.Consumer) bool {
	return hmac.Equal(c.MAC, e.consumerMAC(c))
}

// consumerSetMAC covers which rows there are of a cluster, by their MACs, so that one that
// was removed or put back is noticed. It sorts macs.
func (e *Engine) consumerSetMAC(cluster string, revision int64, macs []store.ConsumerMAC) []byte {
	slices.SortFunc(macs, func(a, b store.ConsumerMAC) int {
		return cmp.Or(bytes.Compare(a.MAC, b.MAC), cmp.Compare(a.Path, b.Path))
	})
	parts := [][]byte{e.vaultID[:], []byte(cluster), intBytes(revision)}
	for _, row := range macs {
		parts = append(parts, row.MAC, []byte(row.Path))
	}
	mac := e.keyring.MAC(purposeConsumerSet, parts...)
	return mac[:]
}

// verifyConsumerSet is about the rows of a cluster, by their MACs. A cluster that nothing
// was acknowledged for has no rows.
func (e *Engine) verifyConsumerSet(cluster string, set *store.ConsumerSet, macs []store.ConsumerMAC) bool {
	if set == nil {
		return len(macs) == 0
	}
	return hmac.Equal(set.MAC, e.consumerSetMAC(cluster, set.Revision, macs))
}

// readerMAC covers all that the row says.
func (e *Engine) readerMAC(r *store.Reader) []byte {
	mac := e.keyring.MAC(purposeReader, e.vaultID[:], []byte(r.Path), []byte(r.Cluster), []byte(r.CallerKind), []byte(r.Caller), []byte(r.Namespace),
		intBytes(r.Version), r.Writer[:], timeBytes(r.ReadAt))
	return mac[:]
}

func (e *Engine) verifyReader(r *store.Reader) bool {
	return hmac.Equal(r.MAC, e.readerMAC(r))
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

// optionalTimeBytes is empty for nil.
func optionalTimeBytes(t *time.Time) []byte {
	if t == nil {
		return nil
	}
	return timeBytes(*t)
}

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
