//go:build failpoints

package faults

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/vault"
)

// resumeRewrap ends, in another process, the rewrap that was cut off, which must do what was left and nothing of the rest
// again. It reports whether it was cut off in its middle: some versions were under the new key, and others still under an old one.
func (v *victim) resumeRewrap(t *testing.T) (inTheMiddle bool) {
	t.Helper()
	engine, closeEngine := v.open(t)
	defer closeEngine()
	done, left := keyUses(t, engine)
	var rewrapped int64
	for {
		progress, err := engine.Rewrap(t.Context(), admin("resume"))
		if err != nil || progress.Failed > 0 {
			t.Fatalf("rewrap: %+v, %v", progress, err)
		}
		if rewrapped += progress.Rewrapped; progress.Remaining == 0 {
			break
		}
	}
	if rewrapped != left {
		t.Errorf("%d versions were wrapped anew; %d were left, and %d done", rewrapped, left, done)
	}
	if all, old := keyUses(t, engine); all != done+left || old != 0 {
		t.Errorf("of %d versions %d are under the primary key and %d are not", done+left, all, old)
	}
	return done > 0 && left > 0
}

// keyUses counts the versions under the primary key, and under others.
func keyUses(t *testing.T, engine *vault.Engine) (primary, others int64) {
	t.Helper()
	status, err := engine.KeyringStatus(t.Context(), admin("resume"))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range status.Keys {
		if key.State == vault.KeyPrimary {
			primary += key.Versions
		} else {
			others += key.Versions
		}
	}
	return primary, others
}
