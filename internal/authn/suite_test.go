package authn_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
)

// scratch holds the files of the API server that the tests share; its key for
// service account tokens is among them.
var scratch string

// server is started by the first test that needs it, and not for those of pure
// functions.
var (
	server    *kube.Server
	serverErr error
	startOnce sync.Once
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "coffer-authn-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	if err := os.Setenv("TMPDIR", scratch); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if server != nil {
			_ = server.Stop()
		}
	}()
	return m.Run()
}

func newClient(t *testing.T) client.WithWatch {
	t.Helper()
	startOnce.Do(func() { server, serverErr = kube.Start() })
	must(t, serverErr)
	c, err := client.NewWithWatch(server.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// account makes a namespace with a service account "api".
func account(t *testing.T, c client.Client, environment string) *corev1.ServiceAccount {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "authn-"}}
	if environment != "" {
		namespace.Labels = map[string]string{vaultv1alpha1.EnvironmentLabel: environment}
	}
	must(t, c.Create(t.Context(), namespace))
	return accountIn(t, c, namespace.Name)
}

func accountIn(t *testing.T, c client.Client, namespace string) *corev1.ServiceAccount {
	t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "api"}}
	must(t, c.Create(t.Context(), sa))
	return sa
}

// token asks for a token of sa; for the API server itself without audiences.
func token(t *testing.T, c client.Client, sa *corev1.ServiceAccount, audiences ...string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	must(t, c.SubResource("token").Create(context.Background(), sa, request))
	return request.Status.Token
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
