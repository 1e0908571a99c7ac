// Package generate makes values: passwords, UUIDs, key pairs and certificates. Everything random is from crypto/rand.
//
// A Spec says what to make, in JSON as people write it; Check says what is wrong with one, and Generate makes the
// value as named properties, as a secret holds them:
//
//	password     password
//	uuid         uuid
//	sshKey       privateKey (OpenSSH's PEM), publicKey (a line of authorized_keys)
//	keyPair      privateKey (PEM, PKCS #8), publicKey (PEM, PKIX)
//	certificate  certificate (PEM, the authority's own chain after it), privateKey (PEM, PKCS #8), ca (PEM)
package generate
