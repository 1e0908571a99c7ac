package main

import (
	"bufio"
	"context"
	"io"
	"regexp"
	"testing"

	"github.com/coffer-vault/coffer/sdk/coffertest"
)

// TestFollowPrintsAFingerprintOfEachValue, and ends when there is nothing to follow.
func TestFollowPrintsAFingerprintOfEachValue(t *testing.T) {
	server := coffertest.NewServer(t)
	server.Setenv(t)
	server.Put("a/b", "one")
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- follow(context.WithoutCancel(t.Context()), "a/b", write) }()
	lines := bufio.NewScanner(read)
	seen := map[string]bool{}
	for _, version := range []string{"1", "2", "3"} {
		if !lines.Scan() {
			t.Fatal("it prints no more")
		}
		match := regexp.MustCompile(`^version ` + version + ` has the fingerprint ([0-9a-f]{16})$`).FindStringSubmatch(lines.Text())
		if match == nil {
			t.Fatalf("it prints %q for version %s", lines.Text(), version)
		}
		seen[match[1]] = true
		server.Put("a/b", map[string]string{"1": "two", "2": "one", "3": "three"}[version])
		if version == "3" {
			server.Delete("a/b")
		}
	}
	if len(seen) != 2 {
		t.Errorf("%d fingerprints of two values", len(seen))
	}
	go func() { _, _ = io.Copy(io.Discard, read) }()
	if err := <-ended; err == nil {
		t.Error("it goes on when there is nothing to follow")
	}
}
