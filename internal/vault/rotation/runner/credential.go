package runner

import (
	"bytes"
	"encoding/json"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// credentialOf is a value as a rotator sees it: its properties or, when it is raw, the whole under secret.RawKey.
func credentialOf(v secret.Value) (_ rotator.Credential, raw bool) {
	if parts, ok := secret.Properties(v); ok {
		return parts, false
	}
	return rotator.Credential{secret.RawKey: string(v.Bytes())}, true
}

// valueOf is a credential as it is stored: raw when the former one was and there is nothing else in it, and an object else.
func valueOf(next rotator.Credential, raw bool) (secret.Value, error) {
	if whole, ok := next[secret.RawKey]; ok && raw && len(next) == 1 {
		return secret.NewValue([]byte(whole))
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // people read it too
	if err := encoder.Encode(next); err != nil {
		return secret.Value{}, err
	}
	return secret.NewValue(bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}
