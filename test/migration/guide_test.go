package migration

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/app"
	"github.com/coffer-vault/coffer/internal/cli"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/testkit/kube"
	"github.com/coffer-vault/coffer/sdk"
)

const (
	guide  = "../../docs/guides/migration.md"
	sample = "../../docs/migration/sample"
	// system is where Coffer runs.
	system = "coffer-system"
	// patience is for a control plane on a busy machine.
	patience = time.Minute
)

var update = flag.Bool("update", false, "write what the commands print into the guide")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"coffer": func() { os.Exit(cli.Main(os.Args, nil)) }})
}

// TestGuide runs what stands behind "$ " in the guide's console blocks, and compares what is
// printed with what stands below.
func TestGuide(t *testing.T) {
	folder := t.TempDir()
	must(t, os.CopyFS(folder, os.DirFS(sample)))
	i := install(t)
	page, err := os.ReadFile(guide)
	must(t, err)
	var followed strings.Builder
	inBlock, skip, commands := false, false, 0
	for line := range strings.Lines(string(page)) {
		switch {
		case strings.HasPrefix(line, "```"):
			inBlock, skip = strings.TrimSpace(line) == "```console", false
		case inBlock && strings.HasPrefix(line, "$ "):
			commands++
			skip = true // what stands below is what it printed once
			followed.WriteString(line)
			followed.WriteString(i.run(t, folder, strings.TrimPrefix(line, "$ ")))
			continue
		}
		if !skip {
			followed.WriteString(line)
		}
	}
	if commands < 20 {
		t.Errorf("the guide has only %d commands", commands)
	}
	if *update && steady(followed.String()) != steady(string(page)) {
		must(t, os.WriteFile(guide, []byte(followed.String()), 0o644))
		return
	}
	if diff := cmp.Diff(steady(string(page)), steady(followed.String())); diff != "" {
		t.Errorf("the guide is not what happens (-guide +real)\n%s\nif the change is meant: go test ./test/migration -update", diff)
	}
}

// changing is what differs from run to run: fingerprints, ages and the columns after them, and addresses.
var changing = regexp.MustCompile(`\b(?:[0-9a-f]{8}|\d+m?s|https://[^\s)]+)\b|[ -]{2,}`)

// steady is text without it.
func steady(text string) string { return changing.ReplaceAllString(text, " ") }

// installation is Coffer, as it runs on a cluster.
type installation struct {
	kube    client.Client
	env     []string
	stopped <-chan error
}

// install starts the manager on real servers, and makes what an administrator has.
func install(t *testing.T) *installation {
	t.Helper()
	server, err := kube.Start("../../config/crd/bases")
	must(t, err)
	t.Cleanup(func() { must(t, server.Stop()) })
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	named := bytes.ReplaceAll(server.KubeConfig(), []byte("envtest"), []byte("east")) // the context, as the guide has it
	must(t, os.WriteFile(kubeconfig, named, 0o600))
	t.Setenv("KUBECONFIG", kubeconfig)
	scheme := runtime.NewScheme()
	must(t, clientgoscheme.AddToScheme(scheme))
	must(t, vaultv1alpha1.AddToScheme(scheme))
	c, err := client.New(server.Config(), client.Options{Scheme: scheme})
	must(t, err)
	admin := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "admin"}}
	for _, object := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}, admin, administrators()} {
		must(t, c.Create(t.Context(), object))
	}
	address := freeAddress(t)
	i := &installation{kube: c, stopped: startManager(t, dir, address)}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"coffer"}}}
	must(t, c.SubResource("token").Create(t.Context(), admin, request))
	token, authority := filepath.Join(dir, "token"), filepath.Join(dir, "ca.crt")
	must(t, os.WriteFile(token, []byte(request.Status.Token), 0o600))
	i.eventually(t, func() string {
		var published corev1.ConfigMap
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: system, Name: "coffer-ca"}, &published); err != nil {
			return err.Error()
		}
		must(t, os.WriteFile(authority, []byte(published.Data["ca.crt"]), 0o600))
		return ""
	})
	i.env = []string{
		"PATH=" + os.Getenv("PATH") + string(filepath.ListSeparator) + os.Getenv("KUBEBUILDER_ASSETS"), "HOME=" + dir, "KUBECONFIG=" + kubeconfig,
		sdk.EnvAddress + "=https://" + address, sdk.EnvCACert + "=" + authority, sdk.EnvTokenFile + "=" + token,
	}
	api, err := sdk.New(sdk.Config{Address: "https://" + address, CACert: authority, TokenFile: token})
	must(t, err)
	i.eventually(t, func() string { // the administrator's policy is in force
		if _, err := api.Put(t.Context(), "ready", sdk.PutRequest{Value: []byte("yes")}); err != nil {
			return err.Error()
		}
		return ""
	})
	return i
}

func administrators() *vaultv1alpha1.VaultPolicy {
	return &vaultv1alpha1.VaultPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "admins"},
		Spec: vaultv1alpha1.VaultPolicySpec{Rules: []vaultv1alpha1.VaultPolicyRule{{
			Effect: vaultv1alpha1.EffectAllow, Paths: []vaultv1alpha1.PathPattern{"**"}, Capabilities: []vaultv1alpha1.Capability{"read", "list", "write"},
			Subjects: vaultv1alpha1.PolicySubjects{ServiceAccounts: []vaultv1alpha1.ServiceAccountSubject{{Namespace: system, Name: "admin"}}},
		}}},
	}
}

// startManager runs what a pod of Coffer runs, until the test ends.
func startManager(t *testing.T, dir, address string) <-chan error {
	t.Helper()
	var key [32]byte
	_, _ = rand.Read(key[:])
	keyFile := filepath.Join(dir, "root-key")
	must(t, os.WriteFile(keyFile, []byte("current: "+base64.StdEncoding.EncodeToString(key[:])+"\n"), 0o400))
	environment := map[string]string{
		"POD_NAMESPACE": system, "COFFER_DATABASE_URL": testkit.Postgres(t), "COFFER_REDIS_URL": testkit.Redis(t),
	}
	config, err := app.ParseConfig([]string{
		"--root-key-file=" + keyFile, "--api-bind-address=" + address, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--log-level=error",
	}, func(name string) string { return environment[name] }, io.Discard)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	stopped, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		stopped <- app.Run(ctx, config)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return stopped
}

// eventually fails at once when the manager stops.
func (i *installation) eventually(t *testing.T, wrong func() string) {
	t.Helper()
	testkit.Eventually(t, patience, func() string {
		select {
		case err := <-i.stopped:
			t.Fatalf("the manager stopped: %v", err)
			return ""
		default:
			return wrong()
		}
	})
}

// run runs a command in the folder as a person types it, and returns what it prints.
func (i *installation) run(t *testing.T, folder, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", command)
	cmd.Dir, cmd.Env = folder, i.env
	out, err := cmd.CombinedOutput()
	// diff says by its code that it found a difference, which is what is to be seen.
	if err != nil && !strings.HasPrefix(command, "diff ") {
		t.Fatalf("%s%v\n%s", command, err, out)
	}
	i.finishRollouts(t)
	if len(out) > 0 && !strings.HasSuffix(string(out), "\n") {
		out = append(out, '\n') // as coffer get does on a terminal
	}
	return string(out)
}

// finishRollouts plays the Deployment controller, of which there is none: every Deployment
// runs with what its spec says.
func (i *installation) finishRollouts(t *testing.T) {
	t.Helper()
	var deployments appsv1.DeploymentList
	must(t, i.kube.List(t.Context(), &deployments))
	for _, d := range deployments.Items {
		d.Status = appsv1.DeploymentStatus{
			ObservedGeneration: d.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
			Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"}},
		}
		must(t, i.kube.Status().Update(t.Context(), &d))
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
