package environment

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/coffer-vault/coffer/hack/local/internal/cluster"
	"github.com/coffer-vault/coffer/hack/local/internal/layout"
)

// namespace Coffer is installed in, and the account and the audience of its administrator's token.
const (
	namespace     = "coffer-system"
	adminAccount  = "coffer-admin-cli"
	audience      = "coffer"
	tokenLifetime = 24 * time.Hour
)

// install brings Coffer of this checkout into the cluster, or the running one up to date.
func (e *Environment) install(ctx context.Context, state *layout.State) error {
	if err := e.Step.Do("building the coffer command", func() error {
		return e.buildCLI(ctx)
	}); err != nil {
		return err
	}
	if err := e.Step.Do("making Coffer's role in the database", func() error {
		return (&cluster.Cluster{State: state}).PostgresCluster().EnsureRole(ctx, cluster.CofferRole)
	}); err != nil {
		return err
	}
	if state.Mode == layout.ModeControlPlane {
		return e.Step.Do("starting Coffer as a process of this machine", func() error { return e.installProcess(ctx, state) })
	}
	var changed bool
	err := e.Step.Do("building the images and loading them into the node", func() (err error) {
		changed, err = e.loadImages(ctx, state)
		return err
	})
	if err != nil || state.Ready && !changed {
		return err
	}
	return e.Step.Do("installing Coffer in the cluster", func() error { return e.apply(ctx, state, changed) })
}

// buildCLI builds coffer, and makes it the plugin of kubectl that it also is.
func (e *Environment) buildCLI(ctx context.Context) error {
	const program = "coffer"
	if err := e.buildProgram(ctx, "./cmd/coffer", filepath.Join(e.Layout.Bin(), program), ""); err != nil {
		return err
	}
	for _, name := range []string{"kubectl-coffer", "kubectl_complete-coffer"} {
		if err := replaceLink(program, filepath.Join(e.Layout.Bin(), name)); err != nil {
			return err
		}
	}
	return nil
}

// apply applies Coffer's own manifests and waits until it serves.
func (e *Environment) apply(ctx context.Context, state *layout.State, changed bool) error {
	c := &cluster.Cluster{State: state}
	secret, err := configSecret(c.PostgresCluster().DSNAs(cluster.CofferRole, "postgres"), c.PostgresCluster().DSN("postgres"), c.RedisInstance().URL(), state.RootKey)
	if err != nil {
		return err
	}
	apply := []string{"apply", "--server-side", "--force-conflicts", "--field-manager=coffer-local"}
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{"", append(apply, "-f", "config/manager/namespace.yaml")},
		{secret, append(apply, "-f", "-")},
		{"", append(apply, "-k", "hack/local/overlay/coffer")},
		{"", []string{"wait", "--for=condition=Established", "--timeout=60s", "crd/vaultpolicies.vault.coffer.dev", "crd/vaultsecrets.vault.coffer.dev", "crd/clustervaultsecrets.vault.coffer.dev", "crd/vaultrotations.vault.coffer.dev"}},
		{"", append(apply, "-k", "config/samples/admin")},
	} {
		if _, err := e.kubectl(ctx, step.stdin, step.args...); err != nil {
			return err
		}
	}
	if changed && state.Ready { // same tag, another image: nothing else makes the pods new
		if _, err := e.kubectl(ctx, "", "-n", namespace, "rollout", "restart", "deployment/coffer"); err != nil {
			return err
		}
	}
	if err := awaitRollout(func(stdin string, args ...string) (string, error) { return e.kubectl(ctx, stdin, args...) }); err != nil {
		return err
	}
	state.Ready = true
	return e.Layout.Save(state)
}

// configSecret is the Secret that tells Coffer where its servers are and what its root key is. ownerURL may be empty.
func configSecret(databaseURL, ownerURL, redisURL, rootKey string) (string, error) {
	data := map[string]string{
		"database-url": databaseURL,
		"redis-url":    redisURL,
		"root-key":     rootKey,
	}
	if ownerURL != "" {
		data["database-owner-url"] = ownerURL
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata":   map[string]any{"name": "coffer-config", "namespace": namespace},
		"stringData": data,
	})
	if err != nil {
		return "", fmt.Errorf("encoding Coffer's configuration: %w", err)
	}
	return string(text), nil
}

// awaitRollout waits until Coffer's pods serve; an error says what the cluster and the pods say.
func awaitRollout(kubectl kubectlFunc) error {
	_, err := kubectl("", "-n", namespace, "rollout", "status", "deployment/coffer", "--timeout=180s")
	if err == nil {
		return nil
	}
	for _, args := range [][]string{
		{"get", "pods"},
		{"logs", "deployment/coffer", "--tail=5", "--all-pods"},
		{"get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"},
	} {
		said, sayErr := kubectl("", append([]string{"-n", namespace}, args...)...)
		if sayErr != nil {
			said = sayErr.Error() + "\n"
		}
		err = fmt.Errorf("%w\n$ kubectl -n %s %s\n%s", err, namespace, strings.Join(args, " "), said)
	}
	return err
}

// variables fetches what a person needs to use Coffer.
func (e *Environment) variables(ctx context.Context, state *layout.State) ([]layout.Variable, error) {
	token, err := e.kubectl(ctx, "", "-n", namespace, "create", "token", adminAccount,
		"--audience="+audience, "--duration="+tokenLifetime.String())
	if err != nil {
		return nil, err
	}
	ca, err := e.kubectl(ctx, "", "-n", namespace, "get", "configmap", "coffer-ca", "-o", "jsonpath={.data.ca\\.crt}")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(e.Layout.CofferCA(), []byte(ca), 0o644); err != nil {
		return nil, fmt.Errorf("writing the authority of Coffer's API: %w", err)
	}
	c := &cluster.Cluster{State: state}
	return []layout.Variable{
		{Name: "KUBECONFIG", Value: e.Layout.Kubeconfig()},
		{Name: "COFFER_ADDR", Value: cofferAddress(state)},
		{Name: "COFFER_TOKEN", Value: token},
		{Name: "COFFER_CACERT", Value: e.Layout.CofferCA()},
		{Name: "DATABASE_URL", Value: c.PostgresCluster().DSN("postgres")},
		{Name: "REDIS_URL", Value: c.RedisInstance().URL()},
		{Name: "PATH", Value: e.Layout.Bin(), Prepend: true},
	}, nil
}

// cofferAddress is where Coffer's API is reached from this machine.
func cofferAddress(state *layout.State) string {
	if state.Mode == layout.ModeControlPlane {
		return "https://" + net.JoinHostPort(state.Address, strconv.Itoa(state.Ports[cluster.ManagerAPI]))
	}
	return "https://" + cluster.CofferServiceIP
}
