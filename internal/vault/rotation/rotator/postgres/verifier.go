package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

const (
	// iterations is the default of the server's scram_iterations.
	iterations = 4096
	saltBytes  = 16
)

// newVerifier is what PostgreSQL keeps of password, with a new salt: SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey
// (RFC 5803 as pg_authid has it).
func newVerifier(password string) (string, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return verifier(password, salt, iterations)
}

// verifier computes the keys of RFC 5802, section 3. Passwords of visible ASCII are as SASLprep would make them; others
// are refused.
func verifier(password string, salt []byte, iterations int) (string, error) {
	for i := range len(password) {
		if password[i] < '!' || password[i] > '~' {
			return "", fmt.Errorf("%w: the password has a character that is no visible ASCII one; rotators make none such", rotator.ErrSetup)
		}
	}
	if password == "" {
		return "", fmt.Errorf("%w: the password is empty", rotator.ErrSetup)
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a verifier: %w", err)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return "SCRAM-SHA-256$" + strconv.Itoa(iterations) + ":" + b64(salt) + "$" + b64(stored[:]) + ":" + b64(mac(salted, "Server Key")), nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
