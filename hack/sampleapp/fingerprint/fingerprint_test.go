package fingerprint_test

import (
	"testing"

	"github.com/coffer-vault/coffer/hack/sampleapp/fingerprint"
)

func TestOfDependsOnKeyAndValue(t *testing.T) {
	// RFC 4231, test case 2, shortened.
	if got, want := fingerprint.Of("Jefe", []byte("what do ya want for nothing?")), "5bdcc146bf60754e"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if fingerprint.Of("a", []byte("v")) == fingerprint.Of("b", []byte("v")) {
		t.Error("the key does not matter")
	}
}
