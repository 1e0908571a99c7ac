package mysql

import (
	"crypto/sha1" //nolint:gosec // it is what mysql_native_password is made of
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"filippo.io/edwards25519"
)

// verifier is what MariaDB keeps of a password.
func verifier(a Authentication, password string) (string, error) {
	if a == Ed25519 {
		return ed25519Verifier(password)
	}
	once := sha1.Sum([]byte(password)) //nolint:gosec // as above
	twice := sha1.Sum(once[:])         //nolint:gosec // as above
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:])), nil
}

// ed25519Verifier is the public key to the private one that MariaDB derives from the password, as RFC 8032 does from a
// seed, in base64 without its padding.
func ed25519Verifier(password string) (string, error) {
	seed := sha512.Sum512([]byte(password))
	private, err := edwards25519.NewScalar().SetBytesWithClamping(seed[:32])
	if err != nil {
		return "", fmt.Errorf("derive a verifier: %w", err)
	}
	public := new(edwards25519.Point).ScalarBaseMult(private).Bytes()
	return base64.RawStdEncoding.EncodeToString(public), nil
}
