//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
)

// installation is where make up puts Coffer.
const installation = "coffer-system"

// patience bounds every wait; a test that waits this long has failed. It is far
// above what anything takes, for slow machines.
const patience = 3 * time.Minute

// environment is the running installation and a namespace of the test's own.
type environment struct {
	client    client.Client
	clientset kubernetes.Interface
	namespace string
}

// newEnvironment makes a namespace, labelled with the environment production, with
// the service account "api".
func newEnvironment(t *testing.T) *environment {
	t.Helper()
	for _, name := range []string{"KUBECONFIG", "COFFER_ADDR", "COFFER_TOKEN", "COFFER_CACERT", "DATABASE_URL", "REDIS_URL"} {
		if os.Getenv(name) == "" {
			t.Fatalf("%s is not set: run make test-e2e, or make up and then: . .local/env", name)
		}
	}
	ctrl.SetLogger(logr.Discard()) // it complains in the middle of a test when nobody does
	config, err := ctrl.GetConfig()
	must(t, err)
	scheme := clientgoscheme.Scheme
	must(t, vaultv1alpha1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	must(t, err)
	clientset, err := kubernetes.NewForConfig(config)
	must(t, err)
	e := &environment{client: c, clientset: clientset}
	e.namespace = e.addNamespace(t, "production")
	return e
}

// addNamespace makes a further namespace with the service account "api"; both go
// with the test.
func (e *environment) addNamespace(t *testing.T, label string) string {
	t.Helper()
	name := "e2e-" + strings.ToLower(rand.Text()[:8])
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{vaultv1alpha1.EnvironmentLabel: label},
	}}
	must(t, e.client.Create(t.Context(), namespace))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(t, client.IgnoreNotFound(e.client.Delete(ctx, namespace)))
	})
	must(t, e.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "api"}}))
	return name
}

// path is a vault path of this test's own.
func (e *environment) path(name string) string { return "production/" + e.namespace + "/" + name }

// put stores value at path, readable by the account "api" of the test's namespace.
func (e *environment) put(t *testing.T, path, value string) {
	t.Helper()
	coffer(t, value, "put", path, "--allow-service", e.namespace+"/api", "--allow-environment", "production")
}

// vaultSecret syncs path into a Secret of the same name.
func (e *environment) vaultSecret(t *testing.T, namespace, name, path string) *vaultv1alpha1.VaultSecret {
	t.Helper()
	vs := vaultSecretObject(namespace, name, path)
	must(t, e.client.Create(t.Context(), vs))
	return vs
}

// vaultSecretObject is what vaultSecret creates.
func vaultSecretObject(namespace, name, path string) *vaultv1alpha1.VaultSecret {
	return &vaultv1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: vaultv1alpha1.VaultPath(path)},
	}
}

// waitForValue waits until key "value" of the Secret is want and returns how long
// that took. The want is never printed.
func (e *environment) waitForValue(t *testing.T, name, want string) time.Duration {
	t.Helper()
	start := time.Now()
	eventually(t, fmt.Sprintf("Secret %s to hold the wanted value", name), func(ctx context.Context) (bool, error) {
		var s corev1.Secret
		err := e.client.Get(ctx, client.ObjectKey{Namespace: e.namespace, Name: name}, &s)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil && string(s.Data["value"]) == want, err
	})
	return time.Since(start)
}

// coffer runs the command line as the administrator and returns what it printed.
func coffer(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := tryCoffer(t.Context(), stdin, args...)
	if err != nil {
		t.Fatalf("coffer %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func tryCoffer(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "coffer", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), errors.Join(err, errors.New(stderr.String()))
	}
	return stdout.String(), nil
}

// eventually polls until condition is true. An error of the API server is tried
// again: some tests take parts of the installation away.
func eventually(t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		var done bool
		done, last = condition(ctx)
		return done && last == nil, nil
	})
	if err != nil {
		t.Fatalf("waited %s for %s: %v", patience, what, errors.Join(err, last))
	}
}

// auditEntry is the part of an entry of coffer audit -o json that tests look at.
type auditEntry struct {
	Caller, Path, Action, Decision string
}

func audit(t *testing.T, args ...string) []auditEntry {
	t.Helper()
	var entries []auditEntry
	must(t, json.Unmarshal([]byte(coffer(t, "", append([]string{"audit", "-o", "json"}, args...)...)), &entries))
	return entries
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// randomValue is a value that cannot be met by chance anywhere else.
func randomValue() string { return "canary-" + rand.Text() }
