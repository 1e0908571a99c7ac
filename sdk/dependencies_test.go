package sdk_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDependencies: what a program gets with the SDK, besides the standard library, is the
// list of testdata/dependencies.txt. Think of every service that is to take it on before
// you make it longer.
func TestDependencies(t *testing.T) {
	want, err := os.ReadFile("testdata/dependencies.txt")
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".", "./coffertest").Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("packages (-testdata/dependencies.txt +go list):\n%s", diff)
	}
}
