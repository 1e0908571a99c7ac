package environment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/coffer-vault/coffer/hack/local/internal/layout"
)

// Target is a cluster of the user's own and what Coffer needs there.
type Target struct {
	// Kubeconfig names the cluster.
	Kubeconfig string
	// Image is one the cluster can pull.
	Image string
	// DatabaseURL and RedisURL are Coffer's servers, as its pods reach them. They are needed for the first installation.
	DatabaseURL, RedisURL string
	// OwnerURL is the database as the role that owns the tables; it may be empty.
	OwnerURL string
}

// TargetFromEnvironment reads the variables KUBECONFIG, IMG, DATABASE_URL and REDIS_URL.
func TargetFromEnvironment() Target {
	return Target{
		Kubeconfig: os.Getenv("KUBECONFIG"), Image: os.Getenv("IMG"),
		DatabaseURL: os.Getenv("DATABASE_URL"), RedisURL: os.Getenv("REDIS_URL"), OwnerURL: os.Getenv("DATABASE_OWNER_URL"),
	}
}

// check says what is missing for any installation.
func (t Target) check() error {
	var errs []error
	if t.Kubeconfig == "" {
		errs = append(errs, errors.New("KUBECONFIG is not set: it names the cluster to install on (make up has one of its own, and Coffer on it)"))
	}
	if t.Image == "" {
		errs = append(errs, errors.New("IMG is not set: it names Coffer's image in a registry the cluster pulls from (make image builds it, into dist/)"))
	}
	return errors.Join(errs...)
}

// Deploy installs config/default on a cluster of the user's own, and waits until Coffer serves. An installation that is
// there keeps its Secret coffer-config: its root key is the only one that opens what is stored.
func (e *Environment) Deploy(ctx context.Context, t Target) error {
	if err := t.check(); err != nil {
		return err
	}
	kubectl, err := e.kubectlFor(ctx, t)
	if err != nil {
		return err
	}
	apply := []string{"apply", "--server-side", "--field-manager=coffer-deploy"}
	if err := e.Step.Do("making sure of the Secret coffer-config", func() error {
		if _, err := kubectl("", append(apply, "-f", "config/manager/namespace.yaml")...); err != nil {
			return err
		}
		return e.ensureConfig(t, kubectl)
	}); err != nil {
		return err
	}
	admission, err := kubectl("", "get", "--raw", "/apis/admissionregistration.k8s.io/v1")
	if err != nil {
		return err
	}
	overlay, err := e.writeOverlay(t.Image, patchesFor(admission))
	if err != nil {
		return err
	}
	return e.Step.Do("installing "+t.Image, func() error {
		if _, err := kubectl("", append(apply, "-k", overlay)...); err != nil {
			return err
		}
		return awaitRollout(kubectl)
	})
}

type kubectlFunc func(stdin string, args ...string) (string, error)

// kubectlFor runs the user's kubectl, or the environment's, against the user's cluster.
func (e *Environment) kubectlFor(ctx context.Context, t Target) (kubectlFunc, error) {
	program, err := exec.LookPath("kubectl")
	if err != nil {
		program = filepath.Join(e.Layout.Bin(), "kubectl")
		if _, err := os.Stat(program); err != nil {
			return nil, errors.New("kubectl is not in PATH: install it, or build it with make assets and put that folder into PATH")
		}
	}
	return func(stdin string, args ...string) (string, error) {
		return runKubectl(ctx, program, e.Layout.Root, t.Kubeconfig, stdin, args...)
	}, nil
}

// ensureConfig makes the Secret coffer-config, with a new root key, unless there is one.
func (e *Environment) ensureConfig(t Target, kubectl kubectlFunc) error {
	found, err := kubectl("", "-n", namespace, "get", "secret", "coffer-config", "--ignore-not-found", "-o", "name")
	if err != nil {
		return err
	}
	if found != "" {
		e.Step.Say("    the Secret %s/coffer-config is there and stays as it is", namespace)
		return nil
	}
	if t.DatabaseURL == "" || t.RedisURL == "" {
		return errors.New("DATABASE_URL and REDIS_URL are not both set: they are the addresses of Postgres and Redis as Coffer's pods reach them, " +
			"for example postgres://coffer:…@postgres.example:5432/coffer and redis://redis.example:6379/0")
	}
	var fresh layout.State
	if err := newSecrets(&fresh); err != nil {
		return err
	}
	secret, err := configSecret(t.DatabaseURL, t.OwnerURL, t.RedisURL, fresh.RootKey)
	if err != nil {
		return err
	}
	if _, err := kubectl(secret, "create", "-f", "-"); err != nil {
		return err
	}
	e.Step.Say("    made a root key in the Secret %s/coffer-config: back it up; without it nothing stored can be read", namespace)
	return nil
}

// withoutInjection is the patch of docs/operations.md for clusters before Kubernetes 1.36.
var withoutInjection = map[string]any{
	"target": map[string]string{"kind": "MutatingAdmissionPolicy.*"},
	"patch":  "$patch: delete\napiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\nmetadata: {name: coffer-injection}\n",
}

// patchesFor are for a cluster whose admission API has these resources.
func patchesFor(admissionResources string) []any {
	if strings.Contains(admissionResources, `"mutatingadmissionpolicies"`) {
		return nil
	}
	return []any{withoutInjection}
}

// writeOverlay makes a kustomization of config/default with the image and patches.
func (e *Environment) writeOverlay(image string, patches []any) (string, error) {
	text, err := yaml.Marshal(map[string]any{
		"resources": []string{"../../config/default"}, "images": []any{replacement(image)}, "patches": patches,
	})
	if err != nil {
		return "", fmt.Errorf("encoding the kustomization: %w", err)
	}
	dir := filepath.Join(e.Layout.Local(), "deploy")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("writing the kustomization: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), text, 0o644); err != nil {
		return "", fmt.Errorf("writing the kustomization: %w", err)
	}
	return dir, nil
}

// replacement is how a kustomization says that the image "coffer" is to be the given one.
func replacement(image string) map[string]string {
	if name, digest, ok := strings.Cut(image, "@"); ok {
		return map[string]string{"name": "coffer", "newName": name, "digest": digest}
	}
	// A colon before the last slash is a registry's port.
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		return map[string]string{"name": "coffer", "newName": image[:i], "newTag": image[i+1:]}
	}
	return map[string]string{"name": "coffer", "newName": image, "newTag": "latest"}
}
