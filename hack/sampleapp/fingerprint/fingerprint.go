// Package fingerprint lets two who hold the same value show that they do, without showing it.
package fingerprint

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

// Of is a short keyed digest of value, in hex. The key keeps others from trying out likely values.
func Of(key string, value []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(value)
	return hex.EncodeToString(mac.Sum(nil)[:8])
}
