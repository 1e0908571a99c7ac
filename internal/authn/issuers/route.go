package issuers

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// issuerOf is the claim iss of a token, "" for what is no JWT in compact form (RFC 7519)
// or has none. Nothing is verified: it only says who is to do that.
func issuerOf(token string) string {
	_, rest, ok := strings.Cut(token, ".")
	if !ok {
		return ""
	}
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return ""
	}
	claims, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var named struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(claims, &named) != nil {
		return ""
	}
	return named.Issuer
}
