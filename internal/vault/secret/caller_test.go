package secret_test

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func TestCallersCannotBeMistaken(t *testing.T) {
	for want, c := range map[string]secret.Caller{
		"payments/api":       {Kind: secret.KindServiceAccount, Namespace: "payments", Name: "api"},
		"user:payments/api":  {Kind: secret.KindUser, Name: "payments/api"},
		"user:alice":         {Kind: secret.KindUser, Name: "alice"},
		"user:system:sync":   {Kind: secret.KindUser, Name: "system:sync"},
		"system:policy-sync": {Kind: secret.KindSystem, Name: "policy-sync"},
		"user:":              {},
	} {
		if got := c.String(); got != want {
			t.Errorf("%#v is called %q, want %q", c, got, want)
		}
	}
}
