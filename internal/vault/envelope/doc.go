// Package envelope seals and opens one version of a secret.
//
// Every version has its own random data key, used once. A key-encryption key,
// behind the KeyWrapper that the caller brings, wraps the data key; the data key
// itself is never used as a cipher key but expanded into one key that encrypts and
// one value that commits to it:
//
//	KeyWrapper ── wraps ──> data key (32 random bytes)
//	                          ├─ HKDF-SHA256-Expand "enc"    -> AES-256-GCM key
//	                          └─ HKDF-SHA256-Expand "commit" -> commitment
//
// Both the wrapped key and the box are bound to where they belong (see Binding):
// moved to another secret, path, version or vault, or changed in one bit, they do
// not open, and Open does not say which of the steps failed.
//
// The package is a leaf: it imports nothing of Coffer but the vocabulary of
// package secret.
package envelope
