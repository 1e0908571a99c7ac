// Package tour shows Coffer's main job on the local environment: a secret goes into the vault, arrives in a native
// Secret and in the pods that mount it, is rotated, and the pods roll.
package tour

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/coffer-vault/coffer/hack/local/internal/environment"
	"github.com/coffer-vault/coffer/hack/local/internal/layout"
	"github.com/coffer-vault/coffer/hack/local/internal/step"
	"github.com/coffer-vault/coffer/hack/sampleapp/fingerprint"
)

// What the tour makes is config/samples/payments, with the environment's overlay.
const (
	samples        = "hack/local/overlay/samples"
	namespace      = "payments"
	path           = "production/payments/database"
	secretName     = "payments-db"
	fingerprintKey = "coffer-demo" // the one in the overlay
)

// Tour is one run.
type Tour struct {
	Environment *environment.Environment
	Step        *step.Reporter
	// Out gets what the tour is about: tables and fingerprints.
	Out io.Writer

	pods bool // whether the environment has a node
	kube kubernetes.Interface
}

// Run gives the tour. It fails unless whoever uses the secret saw the first value, and then the second.
func (t *Tour) Run(ctx context.Context) error {
	if err := t.Environment.Up(ctx); err != nil {
		return err
	}
	if err := t.connect(); err != nil {
		return err
	}
	first, second := rand.Text(), rand.Text()
	if err := t.begin(ctx, first); err != nil {
		return err
	}
	took, err := t.rotate(ctx, second)
	if err != nil {
		return err
	}
	return t.conclude(ctx, took)
}

func (t *Tour) connect() error {
	state, err := t.Environment.State()
	if err != nil {
		return err
	}
	t.pods = state.Mode == layout.ModeNode
	config, err := clientcmd.BuildConfigFromFlags("", t.Environment.Layout.Kubeconfig())
	if err != nil {
		return fmt.Errorf("reading the environment's kubeconfig: %w", err)
	}
	if t.kube, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	return nil
}

// begin puts the first value into the vault and an application that uses it into the cluster.
func (t *Tour) begin(ctx context.Context, password string) error {
	err := t.Step.Do("putting "+path+" into the vault, for the service account payments/api in production", func() error {
		return t.coffer(ctx, password, "put", path,
			"--allow-service", "payments/api", "--allow-environment", "production",
			"--description", "the payments database", "--rotate-after-days", "90")
	})
	if err != nil {
		return err
	}
	err = t.Step.Do("applying config/samples/payments: a VaultSecret, and a Deployment that mounts its Secret", func() error {
		return t.run(t.Environment.Command(ctx, "kubectl", "apply", "--server-side", "--force-conflicts", "-k", samples))
	})
	if err != nil {
		return err
	}
	return t.Step.Do("waiting until the application has the password", func() error {
		seen, err := t.awaitFingerprint(ctx, fingerprint.Of(fingerprintKey, []byte(password)))
		if err != nil {
			return err
		}
		t.show("before the rotation", seen)
		return nil
	})
}

// rotate puts the second value in and returns how long it took until the Secret had it.
func (t *Tour) rotate(ctx context.Context, password string) (took time.Duration, err error) {
	err = t.Step.Do("rotating "+path, func() error {
		took, err = t.timeToSecret(ctx, password, func() error {
			return t.coffer(ctx, password, "rotate", path)
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	t.Step.Say("    the Secret had the new value %d ms after coffer rotate was called", took.Milliseconds())
	return took, t.Step.Do("waiting until the application has the new password", func() error {
		seen, err := t.awaitFingerprint(ctx, fingerprint.Of(fingerprintKey, []byte(password)))
		if err != nil {
			return err
		}
		t.show("after the rotation", seen)
		return nil
	})
}

// conclude shows the VaultSecrets and says how to go on from here.
func (t *Tour) conclude(ctx context.Context, took time.Duration) error {
	if t.pods {
		if err := t.awaitReady(ctx); err != nil {
			return err
		}
	} else {
		t.Step.Say("there are no pods here: the rollout in the table goes on forever")
	}
	table, err := t.Environment.Command(ctx, "kubectl", "get", "vaultsecrets", "-A").Output()
	if err != nil {
		return fmt.Errorf("kubectl get vaultsecrets: %w", withOutput(err))
	}
	fmt.Fprintf(t.Out, "\n$ kubectl get vaultsecrets -A\n%s\nfrom rotation to Secret updated: %d ms\n", table, took.Milliseconds())
	fmt.Fprintf(t.Out, `
To look further:
  . %s                          # KUBECONFIG, COFFER_ADDR, COFFER_TOKEN and the rest
  kubectl -n payments describe vaultsecret database
  coffer list production/
  coffer audit --path production/
  coffer explain %s --service-account payments/api
  make down                              # when you are done
`, relative(t.Environment.Layout), path)
	return nil
}

func relative(l layout.Layout) string { return strings.TrimPrefix(l.EnvFile(), l.Root+"/") }

// show prints what each user of the secret saw.
func (t *Tour) show(when string, seen map[string]string) {
	fmt.Fprintf(t.Out, "\nfingerprint of the password %s:\n", when)
	for _, name := range sorted(seen) {
		fmt.Fprintf(t.Out, "  %-40s %s\n", name, seen[name])
	}
	fmt.Fprintln(t.Out)
}

// coffer runs the command line with a database credential on its standard input.
func (t *Tour) coffer(ctx context.Context, password string, args ...string) error {
	credential, err := json.Marshal(map[string]string{"user": "payments", "password": password})
	if err != nil {
		return err
	}
	cmd := t.Environment.Command(ctx, "coffer", args...)
	cmd.Stdin = strings.NewReader(string(credential))
	return t.run(cmd)
}

// run runs cmd; what it printed is in the error, if it fails.
func (t *Tour) run(cmd *exec.Cmd) error {
	if _, err := cmd.Output(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(cmd.Args[4:], " "), withOutput(err))
	}
	return nil
}

// withOutput adds what a program said to the error of running it.
func withOutput(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}
