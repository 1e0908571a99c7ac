package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/coffer-vault/coffer/hack/local/internal/cluster"
	"github.com/coffer-vault/coffer/hack/local/internal/image"
	"github.com/coffer-vault/coffer/hack/local/internal/layout"
	"github.com/coffer-vault/coffer/hack/local/internal/toolchain"
)

// CofferImage is Coffer's; SampleImage that of the program that stands for an application, LoginImage that of one with a
// database, and ExampleImage that of the SDK's example.
const (
	CofferImage  = "coffer.local/coffer:dev"
	SampleImage  = "coffer.local/sampleapp:dev"
	LoginImage   = "coffer.local/loginapp:dev"
	ExampleImage = "coffer.local/sdkexample:dev"
)

// source is an image made of a program of this repository.
type source struct {
	reference, pkg, entrypoint string
	trust                      bool
}

var sources = []source{
	{cluster.PauseImage, "./hack/pause", "/pause", false},
	{SampleImage, "./hack/sampleapp", "/sampleapp", false},
	{LoginImage, "./hack/loginapp", "/loginapp", false},
	{ExampleImage, "./hack/sdkexample", "/sdkexample", false},
	{CofferImage, "./cmd/manager", "/manager", true},
}

// BuildImage makes Coffer's image and puts its archive at file, under the given name.
func (e *Environment) BuildImage(ctx context.Context, reference, file string) error {
	_, err := e.buildImage(ctx, source{reference, "./cmd/manager", "/manager", true}, file)
	return err
}

// buildImage compiles the program and wraps it.
func (e *Environment) buildImage(ctx context.Context, s source, file string) (digest string, err error) {
	program := filepath.Join(e.Layout.Images(), filepath.Base(s.entrypoint))
	if err := e.buildProgram(ctx, s.pkg, program, "linux"); err != nil {
		return "", err
	}
	return image.Write(image.Spec{
		Reference: s.reference, Program: program, Entrypoint: s.entrypoint, TrustAuthorities: s.trust,
	}, file)
}

// buildProgram compiles a static program of this repository; goos may be empty for this machine's. It uses what tests
// have compiled already, so there is no -trimpath here: releases are built by the Dockerfile.
func (e *Environment) buildProgram(ctx context.Context, pkg, file, goos string) error {
	program := toolchain.Program{
		Dir: e.Layout.Root, Package: pkg, Output: file,
		Arguments: []string{"-buildvcs=false", "-ldflags=-s -w"}, // the same sources are to make the same image
		Env:       []string{"CGO_ENABLED=0"},
	}
	if goos != "" {
		program.Env = append(program.Env, "GOOS="+goos)
	}
	return program.Build(ctx, e.Step)
}

// loadImages builds the images and imports those that the node has not, and tells whether Coffer's was one of them.
func (e *Environment) loadImages(ctx context.Context, state *layout.State) (cofferChanged bool, err error) {
	tools, err := e.Cache.Ensure(ctx, toolchain.Node()...)
	if err != nil {
		return false, err
	}
	if state.Images == nil {
		state.Images = map[string]string{}
	}
	for _, s := range sources {
		archive := filepath.Join(e.Layout.Images(), filepath.Base(s.entrypoint)+".tar")
		digest, err := e.buildImage(ctx, s, archive)
		if err != nil {
			return false, err
		}
		if state.Images[s.reference] == digest {
			continue
		}
		if err := importImage(ctx, tools["ctr"], state.Pid, archive); err != nil {
			return false, err
		}
		state.Images[s.reference] = digest
		cofferChanged = cofferChanged || s.reference == CofferImage
	}
	return cofferChanged, e.Layout.Save(state)
}

// importImage hands an archive to the node's containerd, in the namespace Kubernetes uses.
func importImage(ctx context.Context, ctr string, pid int, archive string) error {
	in, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("importing an image: %w", err)
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, ctr,
		"--address", fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", pid),
		"--namespace", "k8s.io", "images", "import", "-")
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("importing %s: %w\n%s", archive, err, out)
	}
	return nil
}

// kubectl runs it as the environment's administrator and returns what it printed.
func (e *Environment) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	return runKubectl(ctx, filepath.Join(e.Layout.Bin(), "kubectl"), e.Layout.Root, e.Layout.Kubeconfig(), stdin, args...)
}

func runKubectl(ctx context.Context, program, dir, kubeconfig, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}
