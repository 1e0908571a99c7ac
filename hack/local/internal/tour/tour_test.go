package tour

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFingerprintsAreReadFromALog(t *testing.T) {
	got := fingerprints("starting\nfile fingerprint 0a1b\nenvironment fingerprint 2c3d\n")
	if diff := cmp.Diff(map[string]string{"file": "0a1b", "environment": "2c3d"}, got); diff != "" {
		t.Error(diff)
	}
	if got := fingerprints("nothing yet\n"); len(got) != 0 {
		t.Errorf("got %v from a log without any", got)
	}
}
