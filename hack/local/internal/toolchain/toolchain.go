// Package toolchain builds the programs of the local environment (Kubernetes, containerd, CoreDNS …) from Go modules
// pinned in this repository, and keeps them in a cache that outlives the checkout.
package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/coffer-vault/coffer/hack/local/internal/step"
)

// Tool is a program and how to build it.
type Tool struct {
	// Name of the program, as it is called where it is used.
	Name string
	// Module is the folder, below the repository's root, of the module that pins the program's source.
	Module string
	// Source is the path of the Go module the program is from: its version is the tool's. Empty for a program of the
	// pinning module itself, whose version is that of Versioned.
	Source string
	// Package to build.
	Package string
	// Tags and Version are build tags, and the variables that are set to the version.
	Tags    []string
	Version []string
	// Cgo is whether the program needs a C compiler and libraries.
	Cgo bool
}

// Cache is a directory of built programs. Several programs, and several checkouts, may use it at once.
type Cache struct {
	Dir  string
	Root string // the repository
	Step *step.Reporter
}

// DefaultDir is COFFER_CACHE, or a directory of our own in the user's cache directory.
func DefaultDir() (string, error) {
	if dir := os.Getenv("COFFER_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no directory for built programs (set COFFER_CACHE): %w", err)
	}
	return filepath.Join(dir, "coffer"), nil
}

// Built tells where the tools are, and whether all of them have been built.
func (c *Cache) Built(ctx context.Context, tools ...Tool) (files map[string]string, all bool, err error) {
	files, missing, err := c.look(ctx, tools)
	return files, len(missing) == 0, err
}

// look returns the file of each tool, by name, and the tools that have none yet.
func (c *Cache) look(ctx context.Context, tools []Tool) (files map[string]string, missing []Tool, err error) {
	files = make(map[string]string, len(tools))
	for _, tool := range tools {
		file, err := c.file(ctx, tool)
		if err != nil {
			return nil, nil, err
		}
		files[tool.Name] = file
		if !executable(file) {
			missing = append(missing, tool)
		}
	}
	return files, missing, nil
}

// Ensure builds those of tools that are missing and returns the file of each, by name.
func (c *Cache) Ensure(ctx context.Context, tools ...Tool) (map[string]string, error) {
	files, missing, err := c.look(ctx, tools)
	if err != nil || len(missing) == 0 {
		return files, err
	}
	unlock, err := lock(filepath.Join(c.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, tool := range missing {
		file := files[tool.Name]
		if executable(file) { // another run built it while we waited for the lock
			continue
		}
		if err := c.Step.Do("building "+filepath.Base(file), func() error { return c.build(ctx, tool, file) }); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// file is where the built tool is kept. The name carries everything the result depends on: the version, for people, and
// a digest of the pinned dependencies and of how it is built.
func (c *Cache) file(ctx context.Context, tool Tool) (string, error) {
	version, err := c.Version(ctx, tool)
	if err != nil {
		return "", err
	}
	sums, err := os.ReadFile(filepath.Join(c.Root, tool.Module, "go.sum"))
	if err != nil {
		return "", fmt.Errorf("reading what %s is built from: %w", tool.Name, err)
	}
	name := fmt.Sprintf("%s-%s-%s", tool.Name, version, key(tool, version, sums))
	return filepath.Join(c.Dir, "bin", runtime.GOOS+"_"+runtime.GOARCH, name), nil
}

// key is a short digest of what, beside the version, decides how the tool comes out.
func key(tool Tool, version string, sums []byte) string {
	h := sha256.New()
	for _, part := range append([]string{tool.Package}, arguments(tool, version)...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	fmt.Fprintf(h, "cgo=%t", tool.Cgo)
	h.Write(sums)
	return hex.EncodeToString(h.Sum(nil))[:8]
}

// versions remembers the answers of the go command.
var versions sync.Map

// Version is that of the tool's source, as the module that pins it says.
func (c *Cache) Version(ctx context.Context, tool Tool) (string, error) {
	id := tool.Module + "\x00" + tool.Source
	if v, ok := versions.Load(id); ok {
		return v.(string), nil
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", tool.Source)
	cmd.Dir = filepath.Join(c.Root, tool.Module)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("finding the version of %s pinned in %s: %w", tool.Source, tool.Module, err)
	}
	version := strings.TrimSpace(string(out))
	versions.Store(id, version)
	return version, nil
}

// arguments are those of "go build", without the output and the package.
func arguments(tool Tool, version string) []string {
	flags := []string{"-s", "-w"}
	major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	replace := strings.NewReplacer("{version}", version, "{major}", major, "{minor}", minor)
	for _, set := range tool.Version {
		flags = append(flags, "-X", replace.Replace(set))
	}
	args := []string{"-ldflags", strings.Join(flags, " ")}
	if len(tool.Tags) > 0 {
		args = append(args, "-tags", strings.Join(tool.Tags, ","))
	}
	return args
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
