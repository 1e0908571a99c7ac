package environment

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/hack/local/internal/layout"
	"github.com/coffer-vault/coffer/hack/local/internal/step"
	"github.com/coffer-vault/coffer/hack/local/internal/supervise"
	"github.com/coffer-vault/coffer/hack/local/internal/toolchain"
)

// inScratch is the environment of an empty checkout.
func inScratch(t *testing.T) *Environment {
	t.Helper()
	report := step.NewPlain(&strings.Builder{}, time.Now)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, ".local"), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Environment{
		Layout: layout.Layout{Root: root}, Step: report,
		Cache: &toolchain.Cache{Dir: t.TempDir(), Root: root, Step: report},
	}
}

func TestSummary(t *testing.T) {
	for _, tc := range []struct {
		name    string
		all     []supervise.Status
		waiting []string
		failure string
	}{
		{name: "all run", all: []supervise.Status{{Name: "a", State: supervise.Running}, {Name: "b", State: supervise.Stopped}}},
		{
			name:    "some start",
			all:     []supervise.Status{{Name: "a", State: supervise.Waiting}, {Name: "b", State: supervise.Starting}},
			waiting: []string{"a", "b"},
		},
		{
			name:    "one failed",
			all:     []supervise.Status{{Name: "a", State: supervise.Waiting}, {Name: "b", State: supervise.Failed, Message: "why"}},
			failure: "b failed: why",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			waiting, err := summary(tc.all)
			if diff := cmp.Diff(tc.waiting, waiting); diff != "" {
				t.Error(diff)
			}
			if got := errorText(err); got != tc.failure {
				t.Errorf("failure %q, want %q", got, tc.failure)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestReplacementOfTheImage(t *testing.T) {
	for image, want := range map[string]map[string]string{
		"coffer:1.0":                      {"name": "coffer", "newName": "coffer", "newTag": "1.0"},
		"registry.example:5000/a/b":       {"name": "coffer", "newName": "registry.example:5000/a/b", "newTag": "latest"},
		"registry.example:5000/a/b:1.0":   {"name": "coffer", "newName": "registry.example:5000/a/b", "newTag": "1.0"},
		"registry.example/b@sha256:00112": {"name": "coffer", "newName": "registry.example/b", "digest": "sha256:00112"},
	} {
		if diff := cmp.Diff(want, replacement(image)); diff != "" {
			t.Errorf("%s:\n%s", image, diff)
		}
	}
}

func TestPatchesForOlderClusters(t *testing.T) {
	for resources, want := range map[string]int{
		`{"resources":[{"name":"mutatingadmissionpolicies"},{"name":"validatingadmissionpolicies"}]}`: 0,
		`{"resources":[{"name":"validatingadmissionpolicies"}]}`:                                      1,
	} {
		if got := patchesFor(resources); len(got) != want {
			t.Errorf("%s: %d patches, want %d", resources, len(got), want)
		}
	}
}

func TestDeploySaysAllThatIsMissing(t *testing.T) {
	err := inScratch(t).Deploy(t.Context(), Target{})
	for _, name := range []string{"KUBECONFIG", "IMG"} {
		if !strings.Contains(errorText(err), name+" is not set") {
			t.Errorf("%q does not mention %s", errorText(err), name)
		}
	}
}

func TestEnsureConfigKeepsTheRootKeyThatIsThere(t *testing.T) {
	e := inScratch(t)
	target := Target{DatabaseURL: "postgres://db", RedisURL: "redis://cache"}
	var created string
	answer := func(found string) kubectlFunc {
		return func(stdin string, args ...string) (string, error) {
			if args[0] == "create" {
				created = stdin
			}
			return found, nil
		}
	}
	if err := e.ensureConfig(target, answer("secret/coffer-config")); err != nil || created != "" {
		t.Errorf("with a Secret there: %v; it was replaced: %t", err, created != "")
	}
	if err := e.ensureConfig(Target{}, answer("")); !strings.Contains(errorText(err), "DATABASE_URL") {
		t.Errorf("without addresses: %v", err)
	}
	if err := e.ensureConfig(target, answer("")); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"postgres://db", "redis://cache", "current: "} {
		if !strings.Contains(created, part) {
			t.Errorf("the new Secret lacks %q", part)
		}
	}
}

func TestCommandHasTheEnvironmentsVariablesAndPrograms(t *testing.T) {
	e := inScratch(t)
	own := filepath.Join(e.Layout.Bin(), "greet")
	if err := os.MkdirAll(e.Layout.Bin(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("#!/bin/sh\necho \"$GREETING, $1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := e.Layout.WriteEnv([]layout.Variable{{Name: "GREETING", Value: "it's me"}}); err != nil {
		t.Fatal(err)
	}
	out, err := e.Command(t.Context(), "greet", "a b").Output()
	if err != nil || string(out) != "it's me, a b\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestStateOfWhatDoesNotRun(t *testing.T) {
	e := inScratch(t)
	if err := e.Layout.Save(&layout.State{Mode: layout.ModeNode, Pid: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.State(); !errors.Is(err, layout.ErrNoState) {
		t.Errorf("a state file without a running environment: %v", err)
	}
}

func TestAssetsOfTheUserWin(t *testing.T) {
	t.Setenv(assetsVariable, "/some/where")
	if dir, err := inScratch(t).Assets(t.Context()); err != nil || dir != "/some/where" {
		t.Errorf("got %q, %v", dir, err)
	}
}
