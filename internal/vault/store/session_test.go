package store

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/testkit"
)

// TestSessionsHaveLimits: Postgres ends by itself what a client that is gone began.
func TestSessionsHaveLimits(t *testing.T) {
	s, err := Open(t.Context(), testkit.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for setting, want := range map[string]string{
		"statement_timeout": "1min", "lock_timeout": "15s", "idle_in_transaction_session_timeout": "15s",
		"default_transaction_isolation": "read committed",
	} {
		var got string
		if err := s.pool.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
}
