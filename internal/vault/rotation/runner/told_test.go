package runner

import (
	"errors"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// TestToldHidesTheLongestPartFirst: a user's name may be within the password, of which the
// rest would stay otherwise. The order of a map is another one each time.
func TestToldHidesTheLongestPartFirst(t *testing.T) {
	for range 20 {
		a := &acting{held: []rotator.Credential{{"username": "payments", "password": "payments-x7", "port": "12"}}}
		if got := a.told(errors.New("login as payments with payments-x7 at 12 failed")).Error(); got != "login as [redacted] with [redacted] at 12 failed" {
			t.Fatalf("it says %q", got)
		}
	}
}
