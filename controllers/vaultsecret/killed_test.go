//go:build failpoints

package vaultsecret_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// processVariable makes this program, started again, an operator: it holds where.
const processVariable = "COFFER_TEST_OPERATOR"

// where is the world of an operator in a process of its own.
type where struct {
	Host      string
	TLS       rest.TLSClientConfig
	Namespace string
	Database  string
	Owner     string
	Redis     string
	Root      string
}

// TestOperatorProcess is the operator that TestKilledInRollback kills.
func TestOperatorProcess(t *testing.T) {
	text := os.Getenv(processVariable)
	if text == "" {
		return // a test run
	}
	var at where
	must(t, json.Unmarshal([]byte(text), &at))
	root, err := keyring.KeyFileRoot(at.Root)
	must(t, err)
	engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
		DatabaseURL: at.Database, OwnerURL: at.Owner, RedisURL: at.Redis, Root: root, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	t.Cleanup(closeEngine)
	w := &world{
		t: t, config: &rest.Config{Host: at.Host, TLSClientConfig: at.TLS, QPS: -1},
		vault: &vaulttest.Env{Engine: engine}, namespace: at.Namespace,
	}
	w.client, err = client.New(w.config, client.Options{Scheme: scheme})
	must(t, err)
	w.startOperator()
	<-t.Context().Done()
}

// startProcess starts an operator that dies at the failpoint.
func (w *world) startProcess(root, point string) *exec.Cmd {
	w.t.Helper()
	text, err := json.Marshal(where{
		Host: w.config.Host, TLS: w.config.TLSClientConfig, Namespace: w.namespace,
		Database: w.vault.Roles.Ordinary, Owner: w.vault.Roles.Owner, Redis: w.vault.RedisURL, Root: root,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run", "^TestOperatorProcess$", "-test.timeout", "3m")
	cmd.Env = append(os.Environ(), processVariable+"="+string(text), failpoint.Variable+"="+point)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it is dead already, unless the test failed
		if w.t.Failed() {
			w.t.Logf("the process printed:\n%s", output.String())
		}
	})
	return cmd
}

// An operator that is killed at any step of a rollback leaves behind what the next one
// needs to finish it.
func TestKilledInRollback(t *testing.T) {
	t.Parallel()
	for _, step := range []string{failpoint.Decided, failpoint.SecretWritten, failpoint.Stamped} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			var key [32]byte
			_, _ = rand.Read(key[:])
			file := filepath.Join(t.TempDir(), "root-key")
			must(t, os.WriteFile(file, []byte("current: "+base64.StdEncoding.EncodeToString(key[:])+"\n"), 0o600))
			root, err := keyring.KeyFileRoot(file)
			must(t, err)
			w := newWorldWith(t, vaulttest.Config{Root: root})
			op := w.startOperator()
			w.put(database, "one")
			object := w.ofPath("payments", database)
			d := w.deployment("api", envFrom("payments"))
			w.ready(w.rolledOutFirst(object, d))
			w.knownGood(object, 1)
			w.rotate(database, "two")
			bad := w.stampOf(object, "two")
			w.stampIs(d, "payments", bad)
			w.conditionIs(object, vaultv1alpha1.ConditionRolledOut, vaultv1alpha1.ReasonRollingOut)
			op.stop()
			w.missesDeadline(d)

			cmd := w.startProcess(file, "rollback/"+step)
			err = cmd.Wait()
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the operator was not killed: %v", err)
			}
			if refreshed(w, object).Status.Rejected == nil {
				t.Error("the decision is not in the status")
			}
			value, stamp := map[string]string{
				failpoint.Decided: "two", failpoint.SecretWritten: "one", failpoint.Stamped: "one",
			}[step], map[string]string{failpoint.Decided: bad, failpoint.SecretWritten: bad}[step]
			w.holds("payments", map[string]string{"value": value})
			w.stampIs(d, "payments", stamp)

			w.startOperator()
			w.isBack(object, "one", 1)
			w.stampIs(d, "payments", "")
			w.workloadsAre(object, deploymentIn("api", vaultv1alpha1.WorkloadRollingOut))
			if got := refreshed(w, d).Generation; got != 3 {
				t.Errorf("the Deployment was changed %d times, want forth and back", got-1)
			}
		})
	}
}
