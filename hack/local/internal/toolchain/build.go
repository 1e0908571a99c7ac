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
	out := filepath.Join(scratch, tool.Name)
	args := arguments(tool, version)
	stale, err := c.stale(ctx, tool, args)
	if err != nil {
		return err
	}
	cmd := c.goCommand(ctx, tool, append(append([]string{"build", "-v", "-o", out}, args...), tool.Package)...)
	if err := c.runCounting(cmd, tool.Name, stale); err != nil {
		return fmt.Errorf("building %s: %w", tool.Name, err)
	}
	if err := os.Rename(out, file); err != nil {
		return fmt.Errorf("putting %s into the cache: %w", tool.Name, err)
	}
	return nil
}

// goCommand runs the go command where tool is pinned.
func (c *Cache) goCommand(ctx context.Context, tool Tool, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(c.Root, tool.Module)
	cgo := "CGO_ENABLED=0"
	if tool.Cgo {
		cgo = "CGO_ENABLED=1"
	}
	// GOFLAGS and a workspace of the user's are for the user's modules.
	cmd.Env = append(os.Environ(), cgo, "GOFLAGS=", "GOWORK=off")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	return cmd
}

// stale is the number of packages that go build will compile.
func (c *Cache) stale(ctx context.Context, tool Tool, args []string) (int, error) {
	list := append([]string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, args...)
	cmd := c.goCommand(ctx, tool, append(list, tool.Package)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("listing the packages of %s: %w\n%s", tool.Name, err, complaint.String())
	}
	return bytes.Count(out, []byte("\n")), nil
}

// runCounting runs a "go build -v", which names each package it has compiled on its standard error, and shows how far
// it is. Everything else it says is in the error, should it fail.
func (c *Cache) runCounting(cmd *exec.Cmd, what string, total int) error {
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	bar := c.Step.Bar(what, total)
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
