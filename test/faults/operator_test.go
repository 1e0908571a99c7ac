//go:build failpoints

package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/app"
	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/internal/vault"
)

// operatorProcess makes this program, started again, the operator of a kubeconfig.
const operatorProcess = "COFFER_FAULTS_OPERATOR"

// operatorFlow is a write of the operator, and what makes it necessary.
type operatorFlow struct {
	name      string
	failpoint string
	steps     []string
	cause     func(*tenant, *testing.T)
}

var operatorFlows = []operatorFlow{
	{"secret-write", "secret-write", []string{failpoint.BeforeWrite, failpoint.AfterWrite}, (*tenant).rotate},
	{"stamp", "stamp", []string{failpoint.BeforeWrite, failpoint.AfterWrite}, (*tenant).rotate},
	{"status-write", "status-write", []string{failpoint.BeforeWrite, failpoint.AfterWrite}, (*tenant).rotate},
	{"secret-of-another-type", "secret-write", []string{failpoint.Removed}, (*tenant).retype},
	{"secret-of-a-former-name", "secret-delete", []string{failpoint.BeforeWrite, failpoint.AfterWrite}, (*tenant).rename},
	{"secret-of-no-right", "secret-delete", []string{failpoint.BeforeWrite, failpoint.AfterWrite}, (*tenant).share},
	{"rollback", "rollback", []string{failpoint.Decided, failpoint.SecretWritten, failpoint.Stamped}, (*tenant).failRollout},
}

// TestOperatorKilled kills the operator at every write of a reconcile, of a rollout and of a rollback, and looks at the cluster once the next
// operator had its time.
func TestOperatorKilled(t *testing.T) {
	var o *operator
	for _, f := range operatorFlows {
		for _, step := range f.steps {
			name := "operator/" + f.name + "/" + step
			if !asked().MatchString(name) {
				continue
			}
			if o == nil {
				o = newOperator(t)
			}
			row := results.begin("operator killed: " + f.name + "/" + step)
			t.Run(name, func(t *testing.T) {
				defer results.end(t, row, name)
				o.killAt(t, row, f, step)
			})
		}
	}
}

// operator is a cluster and the vault that its operator serves.
type operator struct {
	*victim
	kubeconfig string
	cluster    client.WithWatch
	clientset  kubernetes.Interface
	engine     *vault.Engine
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	server, err := kube.Start("../../config/crd/bases")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	o := &operator{victim: newVictim(t, testkit.Postgres(t), testkit.Redis(t)), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	must(t, os.WriteFile(o.kubeconfig, server.KubeConfig(), 0o600))
	scheme := clientgoscheme.Scheme
	must(t, vaultv1alpha1.AddToScheme(scheme))
	o.cluster, err = client.NewWithWatch(server.Config(), client.Options{Scheme: scheme})
	must(t, err)
	o.clientset, err = kubernetes.NewForConfig(server.Config())
	must(t, err)
	must(t, o.cluster.Create(t.Context(), &corev1.Namespace{ObjectMeta: ctrl.ObjectMeta{Name: "coffer-system"}}))
	engine, closeEngine := o.open(t)
	t.Cleanup(closeEngine)
	o.engine = engine
	return o
}

// killAt kills the operator at a step several times: first the cause comes while no operator runs, later while one does.
func (o *operator) killAt(t *testing.T, row *result, f operatorFlow, step string) {
	at := o.newTenant(t, strings.ToLower(strings.NewReplacer("/", "-").Replace(f.name+"-"+step)))
	o.converge(t, row, at)
	for hit := range 3 {
		if hit == 0 {
			f.cause(at, t)
		}
		o.runUntilKilled(t, f.failpoint+"/"+step, func() {
			if hit > 0 {
				f.cause(at, t)
			}
		})
		row.injected++
		o.forgetDead(t)
		o.converge(t, row, at)
		if t.Failed() {
			return
		}
	}
	row.hold(t, "I3", at.watched(t))
	row.hold(t, "I4", append(at.unaudited(t), auditFindings(t, o.engine)...))
	row.hold(t, "I6", o.printedValues(t))
}

// start starts an operator; stop ends it with SIGKILL, and waits.
func (o *operator) start(t *testing.T, environment ...string) (ended <-chan error, stop func()) {
	t.Helper()
	output, err := os.OpenFile(o.output, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	defer output.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), operatorProcess+"="+o.root, "KUBECONFIG="+o.kubeconfig, "POD_NAMESPACE=coffer-system",
		"COFFER_DATABASE_URL="+o.dsn, "COFFER_REDIS_URL="+o.redis)
	cmd.Env = append(cmd.Env, environment...)
	cmd.Stdout, cmd.Stderr = output, output
	must(t, cmd.Start())
	over, done := make(chan error, 1), make(chan struct{})
	go func() { over <- cmd.Wait(); close(done) }()
	return over, func() { cancel(); <-done }
}

// runUntilKilled starts the operator with a failpoint armed, and demands that it dies of SIGKILL.
func (o *operator) runUntilKilled(t *testing.T, failpointAt string, cause func()) {
	t.Helper()
	ended, stop := o.start(t, failpoint.Variable+"="+failpointAt)
	defer stop()
	cause()
	select {
	case err := <-ended:
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: the operator was not killed there: %v\n%s", failpointAt, err, o.outputTail())
		}
	case <-time.After(runWithin):
		t.Fatalf("%s was not reached in %v\n%s", failpointAt, runWithin, o.outputTail())
	}
}

// converge lets an operator work until the tenant's objects are as they should be.
func (o *operator) converge(t *testing.T, row *result, at *tenant) {
	t.Helper()
	ended, stop := o.start(t)
	defer stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var wrong error
	for deadline := time.Now().Add(convergeWithin); time.Now().Before(deadline); {
		if wrong = at.settled(t.Context()); wrong == nil {
			row.hold(t, "I5", nil)
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("the operator ended: %v\n%s", err, o.outputTail())
		case <-tick.C:
		}
	}
	row.hold(t, "I5", []string{fmt.Sprintf("after %v: %v\n%s", convergeWithin, wrong, o.outputTail())})
}

// printedValues says where a value is that should not be.
func (o *operator) printedValues(t *testing.T) (wrong []string) {
	t.Helper()
	text, err := os.ReadFile(o.output)
	must(t, err)
	if strings.Contains(string(text), canary) {
		wrong = append(wrong, "the output of the operator")
	}
	return wrong
}

// operate is the main of the operator.
func operate(ctx context.Context, rootKey string) error {
	config, err := app.ParseConfig([]string{
		"--root-key-file=" + rootKey, "--cluster-name=operated", "--leader-elect=false", "--api-bind-address=127.0.0.1:0",
		"--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=warn",
	}, os.Getenv, io.Discard)
	if err != nil {
		return err
	}
	return app.Run(ctx, config)
}
