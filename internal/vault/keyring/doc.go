// Package keyring holds the keys of a vault: the key-encryption keys that wrap the
// data key of each secret version, and the secret from which MAC keys derive. All
// of them are one keyset, stored in the database and wrapped by a root key that
// comes from outside:
//
//	root key ── wraps ──> keyset ──> key-encryption keys ── wrap ──> data keys
//	(Root)                      └──> MAC secret ── HKDF per purpose ──> MAC keys
//
// A Keyset is those keys as of one revision. A Ring is the keyset in use, which is
// replaced while it is used: see docs/design/engine.md for the life of a key.
//
// A Root is the door to the root key. PassphraseRoot and KeyFileRoot hold it in
// this process; KMSRoot and TransitRoot ask a KMS plugin or a transit engine, which
// keep it. WithPrevious is the way from one to another.
package keyring
