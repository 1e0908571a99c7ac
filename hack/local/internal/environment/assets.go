package environment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/coffer-vault/coffer/hack/local/internal/toolchain"
)

// assetsVariable names the directory of envtest's programs; it is kubebuilder's.
const assetsVariable = "KUBEBUILDER_ASSETS"

// downloadWithin is the time the download of ready-made programs gets: on a machine that can reach them it takes a few
// seconds, and building takes minutes, but nobody should wait for a network that does not answer.
const downloadWithin = 60 * time.Second

// Assets is the directory with kube-apiserver, etcd and kubectl: the one the user names, else one downloaded, else one
// built from source.
func (e *Environment) Assets(ctx context.Context) (string, error) {
	if dir := os.Getenv(assetsVariable); dir != "" {
		return dir, nil
	}
	files, built, err := e.Cache.Built(ctx, toolchain.Envtest()...)
	if err != nil {
		return "", err
	}
	if !built {
		version, err := e.Cache.Version(ctx, toolchain.Envtest()[0])
		if err != nil {
			return "", err
		}
		if dir := e.download(ctx, strings.TrimPrefix(version, "v")); dir != "" {
			return dir, nil
		}
		if files, err = e.Cache.Ensure(ctx, toolchain.Envtest()...); err != nil {
			return "", err
		}
	}
	return e.collect(files)
}

// download gets the programs with setup-envtest; it returns nothing when that does not work.
func (e *Environment) download(ctx context.Context, version string) string {
	dir := filepath.Join(e.Cache.Dir, "setup-envtest")
	setup := func(ctx context.Context, extra ...string) (string, error) {
		args := append([]string{
			"tool", "-modfile=hack/tools/go.mod", "setup-envtest", "use", version, "--bin-dir", dir, "-p", "path",
		}, extra...)
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = e.Layout.Root
		cmd.WaitDelay = time.Second // "go tool" runs the program as a child, which may hold the pipes
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, complaint.String())
		}
		return strings.TrimSpace(string(out)), nil
	}
	var found string
	err := e.Step.Do("downloading kube-apiserver and etcd", func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, downloadWithin)
		defer cancel()
		found, err = setup(ctx)
		return err
	})
	if err != nil {
		e.Step.Say("    they cannot be downloaded here; they will be built from source, once, which takes minutes")
		return ""
	}
	return found
}

// collect makes a directory in which the programs have the names envtest looks for.
func (e *Environment) collect(files map[string]string) (string, error) {
	dir := filepath.Join(e.Cache.Dir, "envtest", filepath.Base(files["kube-apiserver"]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making %s: %w", dir, err)
	}
	for name, file := range files {
		link := filepath.Join(dir, name)
		if target, err := os.Readlink(link); err == nil && target == file {
			continue
		}
		if err := replaceLink(file, link); err != nil && !errors.Is(err, os.ErrExist) { // another run made it
			return "", err
		}
	}
	return dir, nil
}
