package toolchain

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/coffer-vault/coffer/hack/local/internal/step"
)

// build compiles tool to file, which appears only when it is whole.
func (c *Cache) build(ctx context.Context, tool Tool, file string) error {
	version, err := c.Version(ctx, tool)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	scratch, err := os.MkdirTemp(filepath.Dir(file), ".building-")
	if err != nil {
		return fmt.Errorf("making the cache: %w", err)
	}
	defer os.RemoveAll(scratch)
	cgo := "CGO_ENABLED=0"
	if tool.Cgo {
		cgo = "CGO_ENABLED=1"
	}
	program := Program{
		Dir: filepath.Join(c.Root, tool.Module), Package: tool.Package, Output: filepath.Join(scratch, tool.Name),
		Arguments: arguments(tool, version),
		// GOFLAGS and a workspace of the user's are for the user's modules.
		Env: []string{cgo, "GOFLAGS=", "GOWORK=off"},
	}
	if err := program.Build(ctx, c.Step); err != nil {
		return err
	}
	if err := os.Rename(program.Output, file); err != nil {
		return fmt.Errorf("putting %s into the cache: %w", tool.Name, err)
	}
	return nil
}

// Program is something for the go command to compile.
type Program struct {
	// Dir is where the go command runs: it decides the module.
	Dir string
	// Package to build, and the file the program goes to.
	Package, Output string
	// Arguments of go build beside those, and variables in its environment.
	Arguments, Env []string
}

// Build compiles the program and shows how far it is.
func (p Program) Build(ctx context.Context, report *step.Reporter) error {
	stale, err := p.stale(ctx)
	if err != nil {
		return err
	}
	args := append([]string{"build", "-v", "-o", p.Output}, p.Arguments...)
	bar := report.Bar(filepath.Base(p.Output), stale)
	if err := runCounting(p.goCommand(ctx, append(args, p.Package)...), bar); err != nil {
		return fmt.Errorf("building %s: %w", p.Package, err)
	}
	return nil
}

func (p Program) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	return cmd
}

// stale is the number of packages that go build will compile.
func (p Program) stale(ctx context.Context) (int, error) {
	args := append([]string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, p.Arguments...)
	cmd := p.goCommand(ctx, append(args, p.Package)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("listing the packages of %s: %w\n%s", p.Package, err, complaint.String())
	}
	return bytes.Count(out, []byte("\n")), nil
}

// runCounting runs a "go build -v", which names each package it has compiled on its standard error, and shows how far
// it is. Everything else it says is in the error, should it fail.
func runCounting(cmd *exec.Cmd, bar step.Bar) error {
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said, readErr := follow(pipe, func() { _ = bar.Add(1) }) // a bar that cannot draw is no reason to stop
	_ = bar.Finish()
	if err := errors.Join(cmd.Wait(), readErr); err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
}

// follow calls each for every line that is a package path, and returns the other lines.
func follow(r io.Reader, each func()) (string, error) {
	var other strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if isPackage(line) {
			each()
			continue
		}
		if !strings.HasPrefix(line, "go: downloading ") {
			other.WriteString(line + "\n")
		}
	}
	return other.String(), lines.Err()
}

// isPackage tells an import path from a compiler's message: it has no spaces and no colon, and is no heading ("# …").
func isPackage(line string) bool {
	return line != "" && !strings.ContainsAny(line, " \t:#")
}
