package docs

import (
	"regexp"
	"strings"
	"testing"
)

// TestTheReadmesProgramIsTheOneThatRuns: its text is that of the program that the end-to-end
// tests run in a pod.
func TestTheReadmesProgramIsTheOneThatRuns(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindAllStringSubmatch(read(t, root+"/README.md"), -1)
	if len(blocks) != 1 {
		t.Fatalf("README.md has %d Go programs, want one", len(blocks))
	}
	program := read(t, root+"/hack/sdkexample/main.go")
	_, program, _ = strings.Cut(program, "\npackage main\n") // below the comment that says what it is
	if blocks[0][1] != "package main\n"+program {
		t.Error("README.md has another program than hack/sdkexample/main.go: copy it")
	}
}
