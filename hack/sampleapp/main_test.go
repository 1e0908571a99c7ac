package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReportShowsFingerprintsAndNeverValues(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("what do ya want for nothing?"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := map[string]string{
		"FINGERPRINT_KEY": "Jefe", "SECRET_FILE": file, "SECRET_VALUE": "what do ya want for nothing?",
	}
	var out strings.Builder
	if err := report(&out, func(name string) string { return environment[name] }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("file fingerprint 5bdcc146bf60754e\nenvironment fingerprint 5bdcc146bf60754e\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestReportWantsAKey(t *testing.T) {
	if err := report(&strings.Builder{}, func(string) string { return "" }); err == nil {
		t.Error("fingerprints without a key")
	}
}

func TestReportRefusesWhatIsNotAccepted(t *testing.T) {
	environment := map[string]string{"FINGERPRINT_KEY": "Jefe", "SECRET_VALUE": "what do ya want for nothing?"}
	for accepted, want := range map[string]bool{
		"": true, "5bdcc146bf60754e": true, "0000000000000000,5bdcc146bf60754e": true, "0000000000000000": false, "5bdcc146": false,
	} {
		environment["ACCEPTED"] = accepted
		err := report(&strings.Builder{}, func(name string) string { return environment[name] })
		if (err == nil) != want {
			t.Errorf("accepted %q: %v", accepted, err)
		}
	}
}
