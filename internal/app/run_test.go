package app

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/controllers/capublisher"
	"github.com/coffer-vault/coffer/internal/servercert"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/sdk"
)

const (
	testNamespace = "coffer-system"
	tenant        = "payments"
	testPatience  = 60 * time.Second
)

// TestRun starts the manager as a pod would, on real servers, and goes the way of a
// secret: an administrator's token, a write through the API, a VaultSecret, the
// native Secret, a rotation. Then the manager is told to stop.
func TestRun(t *testing.T) {
	cluster := startCluster(t)
	address := freeAddress(t)
	config := testConfig(t, address)
	config.AuditLog = auditStdout
	printed := captureStdout(t)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- Run(ctx, config) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("Run: %v", err)
		}
	})

	api := newAPIClient(t, cluster, address)
	path := "production/payments/database"
	eventually(t, "the administrator's policy to be in force", stopped, func() error {
		_, err := api.Put(t.Context(), path, sdk.PutRequest{
			Value:  []byte("first"),
			Access: &sdk.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"}},
		})
		return err
	})
	vs := &vaultv1alpha1.VaultSecret{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "database"},
		Spec:       vaultv1alpha1.VaultSecretSpec{ServiceAccountName: "api", Path: vaultv1alpha1.VaultPath(path)},
	}
	if err := cluster.Create(t.Context(), vs); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Secret", stopped, func() error { return holds(t.Context(), cluster, "first") })
	if _, err := api.Rotate(t.Context(), path, sdk.PutRequest{Value: []byte("second")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rotated Secret", stopped, func() error { return holds(t.Context(), cluster, "second") })
	eventually(t, "the rotation's audit row on standard output", stopped, func() error { return rotationIn(t, printed) })
}

// captureStdout makes a file of the process' standard output until the test ends.
func captureStdout(t *testing.T) (file string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	before := os.Stdout
	os.Stdout = f
	t.Cleanup(func() { os.Stdout = before; _ = f.Close() })
	return f.Name()
}

// rotationIn returns nil when the file has the audit row of a rotation. Every line must be an
// audit row, with the fields of an export.
func rotationIn(t *testing.T, file string) error {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.New("not yet")
	for text := range strings.Lines(string(content)) {
		if !strings.HasSuffix(text, "\n") {
			break
		}
		var line struct {
			Log string `json:"log"`
			sdk.AuditRow
		}
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&line); err != nil || line.Log != "audit" || line.Writer == "" || line.MAC == "" {
			t.Fatalf("line %q: %v", text, err)
		}
		if line.Action == "rotate" && line.Path == "production/payments/database" && line.Version == 2 {
			err = nil
		}
	}
	return err
}

// startCluster makes the namespaces, the accounts and the administrator's policy,
// and points KUBECONFIG at the API server.
func startCluster(t *testing.T) client.Client {
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
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, server.KubeConfig(), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	c, err := client.New(server.Config(), client.Options{Scheme: newScheme()})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testNamespace}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant, Labels: map[string]string{vaultv1alpha1.EnvironmentLabel: "production"}}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: "admin"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "api"}},
		administrators(),
	} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func administrators() *vaultv1alpha1.VaultPolicy {
	return &vaultv1alpha1.VaultPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "admins"},
		Spec: vaultv1alpha1.VaultPolicySpec{Rules: []vaultv1alpha1.VaultPolicyRule{{
			Effect: vaultv1alpha1.EffectAllow, Paths: []vaultv1alpha1.PathPattern{"**"},
			Capabilities: []vaultv1alpha1.Capability{"read", "list", "write", "rotate", "delete", "share", "audit"},
			Subjects: vaultv1alpha1.PolicySubjects{ServiceAccounts: []vaultv1alpha1.ServiceAccountSubject{
				{Namespace: testNamespace, Name: "admin"},
			}},
		}}},
	}
}

// testConfig goes through ParseConfig, as the binary does.
func testConfig(t *testing.T, address string) Config {
	t.Helper()
	var key [32]byte
	_, _ = rand.Read(key[:])
	keyFile := filepath.Join(t.TempDir(), "root-key")
	if err := os.WriteFile(keyFile, []byte("current: "+base64.StdEncoding.EncodeToString(key[:])+"\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	config, err := ParseConfig(
		[]string{
			"--root-key-file=" + keyFile, "--api-bind-address=" + address,
			"--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=error",
		},
		environment("POD_NAMESPACE", testNamespace,
			"COFFER_DATABASE_URL", testkit.Postgres(t), "COFFER_REDIS_URL", testkit.Redis(t)), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func newAPIClient(t *testing.T, cluster client.Client, address string) *sdk.Client {
	t.Helper()
	return apiClientOf(t, cluster, address, testNamespace, "admin")
}

func apiClientOf(t *testing.T, cluster client.Client, address, namespace, name string) *sdk.Client {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"coffer"}}}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := cluster.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	var published corev1.ConfigMap
	eventually(t, "the CA to be published", nil, func() error {
		return cluster.Get(t.Context(), client.ObjectKey{Namespace: testNamespace, Name: capublisher.ConfigMapName}, &published)
	})
	caFile := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(caFile, []byte(published.Data[servercert.CACertKey]), 0o600); err != nil {
		t.Fatal(err)
	}
	api, err := sdk.New(sdk.Config{Address: "https://" + address, Token: request.Status.Token, CACert: caFile})
	if err != nil {
		t.Fatal(err)
	}
	return api
}

func holds(ctx context.Context, cluster client.Client, want string) error {
	var s corev1.Secret
	err := cluster.Get(ctx, client.ObjectKey{Namespace: tenant, Name: "database"}, &s)
	if apierrors.IsNotFound(err) || err == nil && string(s.Data["value"]) != want {
		return errors.New("not yet")
	}
	return err
}

// eventually polls until check returns nil. It fails at once when the manager
// stops.
func eventually(t *testing.T, what string, stopped <-chan error, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, testPatience, true, func(context.Context) (bool, error) {
		select {
		case err := <-stopped:
			return false, fmt.Errorf("the manager stopped: %w", err)
		default:
			last = check()
			return last == nil, nil
		}
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, errors.Join(err, last))
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
