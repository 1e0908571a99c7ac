package configfile_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"

	"github.com/coffer-vault/coffer/internal/configfile"
)

// TestFileThatChanges is taken up within a second, and one that cannot be used changes nothing.
func TestFileThatChanges(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	clock := testingclock.NewFakePassiveClock(time.Now())
	var log strings.Builder
	var before []string
	file, err := configfile.Open(configfile.Options[string]{
		File: name, What: "the greetings (--greetings)", Clock: clock, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Parse: func(content []byte, was string) (string, error) {
			before = append(before, was)
			if string(content) == "bad" {
				return "", errors.New("it is bad")
			}
			return string(content), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := func(want string) {
		t.Helper()
		if got := file.Get(t.Context()); got != want || file.Last() != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	want("one")
	write("two")
	want("one") // it was looked at a moment ago
	later := func() { clock.SetTime(clock.Now().Add(time.Second)) }
	later()
	want("two")
	write("bad")
	for range 3 {
		later()
		want("two")
	}
	if n := strings.Count(log.String(), "it is bad"); n != 1 {
		t.Errorf("the log says it %d times: %s", n, log.String())
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	later()
	want("two")
	write("three")
	later()
	want("three")
	if got := strings.Join(before, " "); !strings.HasPrefix(got, " one two") {
		t.Errorf("before: %q", got)
	}
}

func TestFileThatCannotBeUsedAtFirst(t *testing.T) {
	_, err := configfile.Open(configfile.Options[string]{File: filepath.Join(t.TempDir(), "none"), What: "the greetings (--greetings)"})
	if err == nil || !strings.Contains(err.Error(), "read the greetings (--greetings)") {
		t.Errorf("%v", err)
	}
}
