package layout_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/hack/local/internal/layout"
)

func TestExportsAreReadByAShell(t *testing.T) {
	text := layout.Exports([]layout.Variable{
		{Name: "PLAIN", Value: "a b"},
		{Name: "QUOTED", Value: `it's $HOME "x"`},
		{Name: "LIST", Value: "/first", Prepend: true},
		{Name: "FRESH", Value: "/only", Prepend: true},
	})
	cmd := exec.Command("/bin/sh", "-euc", text+`printf '%s|%s|%s|%s' "$PLAIN" "$QUOTED" "$LIST" "$FRESH"`)
	cmd.Env = []string{"LIST=/second:/third"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff(`a b|it's $HOME "x"|/first:/second:/third|/only`, string(out)); diff != "" {
		t.Error(diff)
	}
}

func TestStateComesBackAndGoes(t *testing.T) {
	l := layout.Layout{Root: t.TempDir()}
	if err := os.MkdirAll(l.Node(), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := l.LoadState(); !errors.Is(err, layout.ErrNoState) {
		t.Errorf("without a state: %v", err)
	}
	want := &layout.State{Mode: layout.ModeNode, Pid: 7, Ports: map[string]int{"redis": 6379}, RedisPassword: "p"}
	if err := l.Save(want); err != nil {
		t.Fatal(err)
	}
	got, err := l.LoadState()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(filepath.Join(l.Local(), "state.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the state with its passwords has mode %v (%v)", info.Mode(), err)
	}
	if err := l.Forget(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.LoadState(); !errors.Is(err, layout.ErrNoState) {
		t.Errorf("after Forget: %v", err)
	}
}
