package toolchain

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/hack/local/internal/step"
)

func TestArgumentsSetTheVersion(t *testing.T) {
	got := arguments(Tool{Tags: []string{"a", "b"}, Version: []string{"p.v={version}", "p.m={major}.{minor}"}}, "v1.37.2")
	want := []string{"-ldflags", "-s -w -X p.v=v1.37.2 -X p.m=1.37", "-tags", "a,b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKeyChangesWithWhateverDecidesTheResult(t *testing.T) {
	base := Tool{Name: "x", Package: "example.com/x"}
	same := key(base, "v1", []byte("sums"))
	if again := key(base, "v1", []byte("sums")); again != same {
		t.Errorf("two keys of the same: %s, %s", same, again)
	}
	for name, other := range map[string]string{
		"package": key(Tool{Package: "example.com/y"}, "v1", []byte("sums")),
		"tags":    key(Tool{Package: "example.com/x", Tags: []string{"seccomp"}}, "v1", []byte("sums")),
		"cgo":     key(Tool{Package: "example.com/x", Cgo: true}, "v1", []byte("sums")),
		"sums":    key(base, "v1", []byte("other")),
	} {
		if other == same {
			t.Errorf("the key does not depend on %s", name)
		}
	}
}

func TestFollowCountsPackagesAndKeepsComplaints(t *testing.T) {
	n := 0
	said, err := follow(strings.NewReader("go: downloading k8s.io/api v0.37.2\nk8s.io/api/core/v1\n"+
		"# example.com/x\n./main.go:3:1: undefined: y\nexample.com/x\n"), func() { n++ })
	if err != nil || n != 2 {
		t.Errorf("%d packages, %v; want 2", n, err)
	}
	if want := "# example.com/x\n./main.go:3:1: undefined: y\n"; said != want {
		t.Errorf("kept %q, want %q", said, want)
	}
}

// A module of our own that says what it was built as, for the cache to build.
func newModule(t *testing.T, main string) *Cache {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"tool/go.mod":  "module example.com/tool\n\ngo 1.26.0\n",
		"tool/go.sum":  "",
		"tool/main.go": main,
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Cache{Dir: t.TempDir(), Root: root, Step: step.NewPlain(&strings.Builder{}, time.Now)}
}

var tool = Tool{Name: "tool", Module: "tool", Source: "example.com/tool", Package: "example.com/tool"}

func TestEnsureBuildsOnce(t *testing.T) {
	c := newModule(t, "package main\n\nfunc main() {}\n")
	files, err := c.Ensure(t.Context(), tool)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(files["tool"])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ensure(t.Context(), tool); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(files["tool"]); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("built again (%v)", err)
	}
}

func TestEnsureLeavesNothingOfABrokenBuild(t *testing.T) {
	c := newModule(t, "package main\n\nfunc main() { undefined() }\n")
	_, err := c.Ensure(t.Context(), tool)
	if err == nil || !strings.Contains(err.Error(), "undefined: undefined") {
		t.Fatalf("got %v; want the compiler's complaint", err)
	}
	left, _ := filepath.Glob(filepath.Join(c.Dir, "bin", "*", "*"))
	hidden, _ := filepath.Glob(filepath.Join(c.Dir, "bin", "*", ".*"))
	if len(left)+len(hidden) > 0 {
		t.Errorf("left behind: %v %v", left, hidden)
	}
}

func TestEnsureStopsWhenAsked(t *testing.T) {
	c := newModule(t, "package main\n\nfunc main() {}\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Ensure(ctx, tool); err == nil {
		t.Error("a cancelled build succeeds")
	}
}
