// Package kube runs a private kube-apiserver and etcd for tests.
package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/coffer-vault/coffer/internal/testkit/process"
)

// assetsVariable names the directory of kube-apiserver, etcd and kubectl; it is kubebuilder's.
const assetsVariable = "KUBEBUILDER_ASSETS"

// startTimeout bounds the start of each program: packages that each start theirs share the cores of a machine.
const startTimeout = 2 * time.Minute

// errNoAssets says what to do when the directory of binaries is not given.
var errNoAssets = errors.New(assetsVariable + " does not name a directory with kube-apiserver and etcd: run the tests with make test, or: export " +
	assetsVariable + "=$(go run ./hack/local assets)")

// Server is a private kube-apiserver with its etcd, gone with this program.
type Server struct {
	env   *envtest.Environment
	guard *process.Guard
}

// Start runs a control plane (API server and etcd: no controllers, no nodes) with the CRDs of the given directories.
// The caller should Stop it; a program that dies before it does leaves nothing behind either.
func Start(crdDirs ...string) (*Server, error) {
	assets := os.Getenv(assetsVariable)
	for _, name := range []string{"kube-apiserver", "etcd"} {
		if _, err := os.Stat(filepath.Join(assets, name)); assets == "" || err != nil {
			return nil, errNoAssets
		}
	}
	dir, err := os.MkdirTemp("", "coffer-kube-")
	if err != nil {
		return nil, fmt.Errorf("making a scratch directory: %w", err)
	}
	guard, err := process.NewGuard(dir, "KILL") // nothing here is worth an orderly stop
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	env, err := environment(assets, dir, crdDirs)
	if err != nil {
		return nil, errors.Join(err, guard.Release())
	}
	if _, err := env.Start(); err != nil {
		return nil, errors.Join(err, env.Stop(), guard.Release())
	}
	return &Server{env: env, guard: guard}, nil
}

func environment(assets, dir string, crdDirs []string) (*envtest.Environment, error) {
	for _, sub := range []string{"etcd-data", "certs"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("making a scratch directory: %w", err)
		}
	}
	env := &envtest.Environment{CRDDirectoryPaths: crdDirs, ErrorIfCRDPathMissing: true, ControlPlaneStartTimeout: startTimeout}
	etcd, err := recordingProcessID(dir, filepath.Join(assets, "etcd"))
	if err != nil {
		return nil, err
	}
	apiServer, err := recordingProcessID(dir, filepath.Join(assets, "kube-apiserver"))
	if err != nil {
		return nil, err
	}
	env.ControlPlane.Etcd = &envtest.Etcd{Path: etcd, DataDir: filepath.Join(dir, "etcd-data")}
	env.ControlPlane.Etcd.Configure().Set("unsafe-no-fsync", "true") // its data is thrown away
	env.ControlPlane.APIServer = &envtest.APIServer{Path: apiServer, CertDir: filepath.Join(dir, "certs")}
	return env, nil
}

// recordingProcessID makes a program that leaves its process id where the Guard of dir looks, then becomes binary:
// envtest keeps the id to itself, and leaves the server running when the test process is killed.
func recordingProcessID(dir, binary string) (string, error) {
	name := filepath.Base(binary)
	script := filepath.Join(dir, name)
	text := fmt.Sprintf("#!/bin/sh\necho $$ > '%s.pid'\nexec '%s' \"$@\"\n", script, binary)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		return "", fmt.Errorf("writing the starter of %s: %w", name, err)
	}
	return script, nil
}

// Config is an administrator's access to the server.
func (s *Server) Config() *rest.Config { return s.env.Config }

// KubeConfig is the same access as the content of a kubeconfig file.
func (s *Server) KubeConfig() []byte { return s.env.KubeConfig }

// Stop ends the control plane and removes its files.
func (s *Server) Stop() error { return errors.Join(s.env.Stop(), s.guard.Release()) }
