package rotator

import "github.com/coffer-vault/coffer/internal/vault/rotation/generate"

// NewPassword makes one as p says. Its errors wrap generate.ErrSpec.
func NewPassword(p generate.Password) (string, error) {
	parts, err := generate.Spec{Password: &p}.Generate(generate.Input{})
	if err != nil {
		return "", err
	}
	return parts[generate.PasswordProperty], nil
}
