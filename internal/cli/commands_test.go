package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/coffer-vault/coffer/sdk"
)

// eachCommand calls visit for all commands that a person can type, with those that cobra adds.
func eachCommand(visit func(name string, cmd *cobra.Command)) {
	root := Root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var walk func(prefix string, cmd *cobra.Command)
	walk = func(prefix string, cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			name := strings.TrimSpace(prefix + " " + c.Name())
			visit(name, c)
			walk(name, c)
		}
	}
	walk("", root)
}

// Every command prints what programs read, or is here with the reason why it does not.
func TestEveryCommandHasFormats(t *testing.T) {
	without := map[string]string{
		"completion": "a script for a shell", "help": "for people",
		"context": "its commands have", "keyring": "its commands have", "notifications": "its commands have", "policy": "its commands have", "rotation": "its commands have",
		"run": "what it prints is the process's",
	}
	withoutName := map[string]string{
		"get": "the value is what is asked for", "audit": "an entry has no name", "audit verify": "a report has no name",
		"explain": "an answer has no name", "leak": "a report has no name", "restore": "a report has no name", "status": "a report has no name", "version": "-o raw is its name",
	}
	eachCommand(func(name string, cmd *cobra.Command) {
		top, _, _ := strings.Cut(name, " ")
		excepted := without[name] != "" || top == "completion"
		flag := cmd.Flags().Lookup("output")
		if flag == nil || excepted {
			if flag != nil || !excepted {
				t.Errorf("%s: -o %v, excepted %v", name, flag != nil, excepted)
			}
			return
		}
		f, ok := flag.Value.(*format)
		if !ok || flag.Shorthand != "o" {
			t.Errorf("%s: -o is not the format", name)
			return
		}
		for _, wanted := range []string{formatJSON, formatYAML} {
			if !slices.Contains(f.allowed, wanted) {
				t.Errorf("%s does not print %s", name, wanted)
			}
		}
		if slices.Contains(f.allowed, formatName) == (withoutName[name] != "") {
			t.Errorf("%s: -o name %v, excepted %v", name, slices.Contains(f.allowed, formatName), withoutName[name] != "")
		}
	})
}

// Every command has a line in the scripts for what it does, for a mistake, where it asks the vault for an
// unknown token and a vault that is away, and where it needs a right for who has it not.
func TestEveryCommandIsScripted(t *testing.T) {
	asksNoVault := []string{
		"completion", "completion bash", "completion fish", "completion powershell", "completion zsh", "context", "context list", "context show", "context use",
		"help", "keyring", "logout", "notifications", "policy", "restore", "rotation", "scan", "version",
	}
	otherwise := map[string]string{
		"completion bash 2": "cobra's own", "completion fish 2": "cobra's own", "completion powershell 2": "cobra's own", "completion zsh 2": "cobra's own", "help 2": "cobra's own",
		"completion 0":      "with a shell",
		"keyring destroy 0": "the key is not known to the script, which runs it by sh",
	}
	scripted := map[string]bool{}
	files, err := filepath.Glob(filepath.Join("testdata", "*", "*.txtar"))
	must(t, err)
	for _, file := range files {
		script, err := os.ReadFile(file)
		must(t, err)
		for line := range strings.Lines(string(script)) {
			if words := strings.Fields(line); len(words) > 2 && words[0] == "exits" {
				scripted[words[2]+" "+words[1]] = true
				if len(words) > 3 {
					scripted[words[2]+" "+words[3]+" "+words[1]] = true
				}
			}
		}
	}
	eachCommand(func(name string, cmd *cobra.Command) {
		codes := []int{exitOK, exitUsage}
		if cmd.Annotations[explainedBy] != "" {
			codes = append(codes, exitNotFound)
		}
		if !slices.Contains(asksNoVault, name) {
			codes = append(codes, exitUnauthenticated, exitUnavailable)
		}
		for _, code := range codes {
			if line := fmt.Sprintf("%s %d", name, code); !scripted[line] && otherwise[line] == "" {
				t.Errorf("no script has the line: exits %d %s", code, name)
			}
		}
	})
}

// What takes something away for good, or tells all that use it, can be looked at first.
func TestDryRuns(t *testing.T) {
	has := map[string]bool{}
	eachCommand(func(name string, cmd *cobra.Command) { has[name] = cmd.Flags().Lookup("dry-run") != nil })
	for _, name := range []string{"delete", "destroy", "import", "leak", "patch", "promote", "put", "rotate", "update", "consumers forget", "rotation approve", "rotation run", "keyring rotate", "keyring rewrap", "keyring destroy"} {
		if !has[name] {
			t.Errorf("%s has no --dry-run", name)
		}
	}
}

// What rotate takes for a value, as put does, it refuses with --now, which makes one: none is ignored.
func TestRotateNowTakesNoValue(t *testing.T) {
	eachCommand(func(name string, put *cobra.Command) {
		if name != "put" {
			return
		}
		put.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "output" || f.Name == "dry-run" || f.Name == "help" {
				return
			}
			given := []string{"--" + f.Name + "=1"}
			if strings.HasPrefix(f.Name, "allow-") { // of which one needs the other
				given = []string{"--allow-service=a/b", "--allow-environment=production"}
			}
			var said bytes.Buffer
			s := &session{in: strings.NewReader(""), out: &said, err: &said, now: time.Now}
			code := s.run(t.Context(), append([]string{"coffer", "rotate", "a/b", "--now", "--token-file", os.DevNull}, given...))
			if code != exitUsage || !strings.Contains(said.String(), "[now ") {
				t.Errorf("rotate --now %s: exit code %d\n%s", given, code, said.String())
			}
		})
	})
}

// There is no colour, so that none need be turned off: not on a terminal, and not with or without NO_COLOR.
func TestNoColour(t *testing.T) {
	for name, setting := range map[string]string{"a terminal": "", "a terminal with NO_COLOR": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NO_COLOR", setting)
			t.Setenv("TERM", "xterm-256color")
			tty, shown := terminal(t)
			s := &session{in: strings.NewReader(""), out: tty, err: tty, now: time.Now}
			s.connection.timeout = time.Second
			for _, args := range [][]string{{"--help"}, {"get"}, {"version"}, {"version", "-o", "json"}, {"whoami", "--token-file", os.DevNull}} {
				s.run(context.Background(), append([]string{"coffer"}, args...))
			}
			must(t, s.printList([]sdk.Metadata{{Path: "a/b", Description: "\x1b[31mred"}}, formatTable, ""))
			bar := s.showProgress("scanning", "objects")
			bar.at(1, 2)
			bar.end()
			if text := shown(); strings.Contains(text, "\x1b[") || !strings.Contains(text, "scanning") || !strings.Contains(text, "a/b") {
				t.Errorf("the terminal shows colour, or not all:\n%q", text)
			}
		})
	}
}

// Long work shows how far it is, on a terminal as a bar, and is silent elsewhere until it takes long.
func TestImportShowsProgress(t *testing.T) {
	tty, shown := terminal(t)
	s := &session{err: tty, out: &bytes.Buffer{}, now: time.Now}
	client, err := sdk.New(sdk.Config{Address: "https://127.0.0.1:1", Token: "none", Retries: -1})
	must(t, err)
	p := &plan{targets: []*target{{path: "a/b"}, {path: "a/c"}}}
	if err := s.comparePlan(t.Context(), client, p); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("error %v", err)
	}
	if text := shown(); !strings.Contains(text, "comparing") || !strings.Contains(text, "0/2") {
		t.Errorf("the terminal shows no bar: %q", text)
	}
}
