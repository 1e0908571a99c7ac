// Package debian installs the Debian packages the local environment and the tests need.
package debian

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/coffer-vault/coffer/hack/local/internal/step"
)

// Need is a package and how to see whether the machine has what it is for.
type Need struct {
	Package string
	// Present reports whether the machine has it, from Debian or from elsewhere.
	Present func() bool
}

// Servers are what tests and the environment need wherever they run.
func Servers() []Need {
	return []Need{
		{"postgresql", func() bool { return matches("/usr/lib/postgresql/*/bin/initdb") || program("initdb") }},
		{"redis-server", func() bool { return program("redis-server") }},
	}
}

// Tested are what only tests need: systems whose credentials are rotated.
func Tested() []Need {
	return []Need{{"mariadb-server", func() bool { return program("mariadbd") && program("mariadb-install-db") }}}
}

// Compiler is what cgo needs: the race detector is built with it, and so is runc.
func Compiler() []Need {
	return []Need{
		{"gcc", func() bool { return program("gcc") }},
		{"libc6-dev", func() bool {
			return runtime.GOOS != "linux" || matches("/usr/include/*/sys/types.h") || matches("/usr/include/sys/types.h")
		}},
	}
}

// Node is what building and running a node needs beside the servers.
func Node() []Need {
	return append(Compiler(), []Need{
		{"pkg-config", func() bool { return program("pkg-config") }},
		{"libseccomp-dev", func() bool { return matches("/usr/include/seccomp.h") }},
		{"containernetworking-plugins", func() bool { return matches("/usr/lib/cni/ptp") }},
		{"nftables", func() bool { return program("nft") }},
		{"iproute2", func() bool { return program("ip") }},
		{"mount", func() bool { return program("mount") }},
		{"kmod", func() bool { return program("modprobe") }},
		{"ca-certificates", func() bool { return matches("/etc/ssl/certs/ca-certificates.crt") }},
	}...)
}

func program(name string) bool {
	if _, err := exec.LookPath(name); err == nil {
		return true
	}
	return matches("/usr/sbin/"+name) || matches("/sbin/"+name) // not on everybody's PATH
}

func matches(pattern string) bool {
	found, err := filepath.Glob(pattern)
	return err == nil && len(found) > 0
}

// Missing are the packages of needs that the machine has not.
func Missing(needs []Need) []string {
	var names []string
	for _, need := range needs {
		if !need.Present() {
			names = append(names, need.Package)
		}
	}
	return names
}

// Ensure installs what is missing, when this machine has apt and we are root; otherwise its error names the packages.
func Ensure(ctx context.Context, report *step.Reporter, needs []Need) error {
	missing := Missing(needs)
	if len(missing) == 0 {
		return nil
	}
	if os.Geteuid() != 0 || !program("apt-get") {
		return fmt.Errorf("this machine lacks what these packages hold; install them, as root, with: apt-get install %s", strings.Join(missing, " "))
	}
	what := "installing " + strings.Join(missing, ", ")
	if err := report.Do(what, func() error { return install(ctx, missing) }); err != nil {
		return err
	}
	if still := Missing(needs); len(still) > 0 {
		return fmt.Errorf("apt-get installed %s, but what they are for is still not found", strings.Join(still, ", "))
	}
	return nil
}

func install(ctx context.Context, packages []string) error {
	restore, err := forbidServices()
	if err != nil {
		return err
	}
	defer restore()
	if err := apt(ctx, "update"); err != nil {
		return err
	}
	return apt(ctx, append([]string{"install", "--yes", "--no-install-recommends"}, packages...)...)
}

func apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return nil
}

// servicePolicy is the program Debian's packages ask, when it exists, before they start a service.
const servicePolicy = "/usr/sbin/policy-rc.d"

// forbidServices keeps packages from starting the system's own servers while we install. A policy the machine has
// already is left alone. restore takes ours away.
func forbidServices() (restore func(), err error) {
	f, err := os.OpenFile(servicePolicy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, os.ErrExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keeping packages from starting services: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString("#!/bin/sh\nexit 101\n"); err != nil { // 101: action forbidden by policy
		return nil, errors.Join(fmt.Errorf("keeping packages from starting services: %w", err), os.Remove(servicePolicy))
	}
	return func() { os.Remove(servicePolicy) }, nil
}
