package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/authn"
	"github.com/coffer-vault/coffer/internal/notify"
	"github.com/coffer-vault/coffer/internal/server"
	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/backup"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func TestMain(m *testing.M) {
	program := func() { os.Exit(Main(os.Args, restoreFile)) }
	testscript.Main(m, map[string]func(){"coffer": program, "kubectl-coffer": program, "kubectl_complete-coffer": program})
}

// restoreFile is what cmd/coffer gives to Main.
func restoreFile(ctx context.Context, r RestoreRequest) (Restored, error) {
	report, err := backup.RestoreFile(ctx, r.DatabaseURL, r.Identities, r.File)
	restored := Restored{CreatedAt: report.CreatedAt}
	for _, t := range report.Tables {
		restored.Tables = append(restored.Tables, RestoredTable{Name: t.Table, Rows: t.Rows})
	}
	return restored, err
}

// installation is what the scripts talk to: the real server over TLS on loopback, a
// real vault, and a real API server that issues and checks the tokens.
type installation struct {
	vault  *vaulttest.Env
	kube   client.Client
	url    string
	caCert string
	// kubeconfig is a file, for the administrator of the cluster.
	kubeconfig string

	mu        sync.Mutex
	rotations []rotation.Definition // that scripts defined
}

func install(t *testing.T) *installation {
	t.Helper()
	config := testkit.Kube(t, "../../config/crd/bases")
	c, err := client.New(config, client.Options{})
	must(t, err)
	vault := vaulttest.Start(t)
	vault.Sync(t, "default")
	s := httptest.NewTLSServer(server.New(server.Config{
		Vault:         vault.Engine,
		Authenticator: authn.New(authn.Options{Client: c, Reader: c, Audience: "coffer", Cluster: "default"}),
		Logger:        slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		Notifications: notifications(t, vault.Engine),
		Rate:          10000, Burst: 10000, // what limits a caller is the server's own test
	}))
	t.Cleanup(s.Close)
	caCert := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(caCert, pemOf(s.Certificate().Raw), 0o600))
	return &installation{vault: vault, kube: c, url: s.URL, caCert: caCert, kubeconfig: writeKubeconfig(t, config)}
}

// notifications go to a chat, and to a hook that takes none.
func notifications(t *testing.T, engine *vault.Engine) notify.Tester {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/chat" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(receiver.Close)
	file := filepath.Join(t.TempDir(), "config.yaml")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `apiVersion: vault.coffer.dev/v1alpha1
kind: NotificationConfiguration
reach: {networks: [127.0.0.0/8], http: true}
sinks:
  - {name: chat, kind: slack, url: "%[1]s/chat"}
  - {name: hook, kind: webhook, url: "%[1]s/hook"}
`, receiver.URL), 0o600))
	config, err := notify.Open(file, slog.New(slog.DiscardHandler))
	must(t, err)
	return notify.Tester{Vault: engine, Notifier: notify.New(notify.Options{Vault: engine, Config: config})}
}

// writeKubeconfig makes the file that a person with the rights of config has. Its context
// "nobody" has no rights.
func writeKubeconfig(t *testing.T, config *rest.Config) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	kubeconfig.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	kubeconfig.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	kubeconfig.Contexts["admin"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	kubeconfig.CurrentContext = "test"
	nobody := *kubeconfig.AuthInfos["admin"]
	nobody.Impersonate = "nobody"
	kubeconfig.AuthInfos["nobody"] = &nobody
	kubeconfig.Contexts["nobody"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "nobody"}
	must(t, clientcmd.WriteToFile(*kubeconfig, file))
	return file
}

// account makes the service account namespace/api, when it is not there, and returns
// a token of it.
func (i *installation) account(t *testing.T, namespace string, audience string) string {
	t.Helper()
	ctx := t.Context()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespace, Labels: map[string]string{vaultv1alpha1.EnvironmentLabel: "production"},
	}}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "api"}}
	must(t, client.IgnoreAlreadyExists(i.kube.Create(ctx, ns)))
	must(t, client.IgnoreAlreadyExists(i.kube.Create(ctx, sa)))
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}
	must(t, i.kube.SubResource("token").Create(ctx, sa, request))
	return request.Status.Token
}

// readsCluster says that the script is of a command that reads the cluster. The others
// find no kubeconfig unless they look for one.
func readsCluster(workDir string) bool {
	script := strings.TrimPrefix(filepath.Base(workDir), "script-")
	return strings.HasPrefix(script, "import") || strings.HasPrefix(script, "scan")
}

func TestScripts(t *testing.T) {
	i := install(t)
	admin := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "operations", Name: "api"}
	i.vault.AllowAll(t, admin, "**")
	i.vault.AllowRules(t, "default", explainedRules(t)...)
	keeper := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "security", Name: "api"}
	i.vault.AllowAll(t, keeper, "keyring/**")
	i.vault.AllowAll(t, keeper, "sys/**")
	auditor := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "auditors", Name: "api"}
	i.vault.Allow(t, auditor, "**", policy.Audit)
	i.vault.Allow(t, auditor, "sys/**", policy.Audit)
	i.vault.AllowAll(t, keeper, "backup/**")
	reader := secret.Caller{Kind: secret.KindServiceAccount, Cluster: "default", Namespace: "readers", Name: "api"}
	i.vault.Allow(t, reader, "sys/keyring", policy.Read)
	i.allowImports(t)
	i.prepareLogins(t)
	dir := t.TempDir()
	for file, token := range map[string]string{
		"admin":    i.account(t, "operations", "coffer"),
		"auditor":  i.account(t, "auditors", "coffer"),
		"keeper":   i.account(t, "security", "coffer"),
		"payments": i.account(t, "payments", "coffer"),
		"intruder": i.account(t, "intruder", "coffer"),
		"writer":   i.account(t, "writers", "coffer"),
		"reader":   i.account(t, "readers", "coffer"),
		"stranger": i.account(t, "payments", "vault"),
	} {
		must(t, os.WriteFile(filepath.Join(dir, file), []byte(token+"\n"), 0o600))
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("COFFER_ADDR", i.url)
			e.Setenv("SERVER", i.url)
			e.Setenv("COFFER_CACERT", i.caCert)
			e.Setenv("COFFER_TOKEN_FILE", filepath.Join(dir, "admin"))
			e.Setenv("TOKENS", dir)
			e.Setenv("CACERT", i.caCert)
			e.Setenv("KUBECONFIGS", filepath.Dir(i.kubeconfig))
			e.Setenv("COFFER_BIN", filepath.SplitList(e.Getenv("PATH"))[0])
			if readsCluster(e.WorkDir) {
				e.Setenv("KUBECONFIG", i.kubeconfig)
			}
			e.Setenv("PATH", e.Getenv("PATH")+string(filepath.ListSeparator)+os.Getenv("KUBEBUILDER_ASSETS")) // kubectl
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "followed": followed, "agekeys": ageKeys, "cut": cut, "fill": fill,
			"newdatabase":  func(ts *testscript.TestScript, _ bool, _ []string) { ts.Setenv("DATABASE_URL", testkit.Postgres(t)) },
			"serves":       i.serves(t),
			"runsnext":     runsNext,
			"contains":     contains,
			"interrupted":  interrupted,
			"stopped":      stopped,
			"propagates":   i.propagates(t),
			"acknowledged": i.acknowledged(t),
			"rotates":      i.rotates,
			"unrotates":    i.unrotates,
		},
	})
}

// rotates defines a rotation: rotates PATH.
func (i *installation) rotates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: rotates PATH")
	}
	// Others' stay: scripts run side by side.
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rotations = append(i.rotations, rotation.Definition{
		Name: args[0], As: rotation.Identity{Namespace: "operations", ServiceAccount: "api"},
		Spec: rotation.Spec{Path: args[0], Method: rotation.Method{Kind: "test"}},
	})
	_, err := i.vault.Engine.ReplaceRotations(context.Background(), "default", i.rotations)
	ts.Check(err)
}

// unrotates takes the definition of a rotation away: unrotates PATH.
func (i *installation) unrotates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unrotates PATH")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rotations = slices.DeleteFunc(i.rotations, func(d rotation.Definition) bool { return d.Path == args[0] })
	_, err := i.vault.Engine.ReplaceRotations(context.Background(), "default", i.rotations)
	ts.Check(err)
}

// propagates has the run of a path wait for consumers, one of which does not move: propagates PATH.
func (i *installation) propagates(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: propagates PATH")
		}
		var claim *vault.RotationClaim
		for claim == nil {
			c, err := i.vault.Engine.ClaimRotation(t.Context(), time.Minute)
			ts.Check(err)
			if c == nil {
				ts.Fatalf("no run of %s is under way", args[0])
			}
			if c.Run.Definition.Spec.Path == args[0] {
				claim = c
				continue
			}
			defer func() { ts.Check(i.vault.Engine.ReleaseRotation(t.Context(), c, 0)) }() // one of another script
		}
		for _, outcome := range []rotation.Outcome{{From: 1}, {}, {}, {}, {Total: 2, Moved: 1}} {
			p := vault.RotationProgress{Outcome: outcome, Pace: rotation.UsualPace(), Lease: time.Minute}
			if claim.Run.Next() == rotation.Create {
				p.Value = vaulttest.Value(t, "next")
			}
			_, err := i.vault.Engine.AdvanceRotation(t.Context(), claim, p)
			ts.Check(err)
		}
	}
}

// ageKeys makes an age identity as age-keygen does: agekeys FILE VARIABLE puts it into the
// file and its recipient into the variable.
func ageKeys(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: agekeys FILE VARIABLE")
	}
	key, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("# made by a test\n"+key.String()+"\n"), 0o600))
	ts.Setenv(args[1], key.Recipient().String())
}

// fill makes a file of so many bytes: fill FILE BYTES.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fill FILE BYTES")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte("v"), n), 0o600))
}

// cut copies a file without its last bytes: cut FROM TO BYTES.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cut FROM TO BYTES")
	}
	content, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), content[:max(0, len(content)-n)], 0o600))
}

// serves opens the restored vault with the root key that it had, and reads: serves PATH
// VERSION WANT.
func (i *installation) serves(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 3 {
			ts.Fatalf("usage: serves PATH VERSION WANT")
		}
		version, err := strconv.ParseInt(args[1], 10, 64)
		ts.Check(err)
		engine, closeEngine, err := vault.Open(t.Context(), vault.Options{
			DatabaseURL: ts.Getenv("DATABASE_URL"), Root: i.vault.Root, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		})
		ts.Check(err)
		defer closeEngine()
		read, err := engine.Read(t.Context(), i.vault.Admin, secret.Ref{Path: vaulttest.Path(t, args[0]), Version: version})
		ts.Check(err)
		if got := strings.TrimSuffix(string(read.Value.Bytes()), "\n"); got != args[2] {
			ts.Fatalf("%s version %d is not what was backed up (%d bytes)", args[0], version, len(got))
		}
	}
}

// exits runs coffer and compares its exit code: exits CODE ARGUMENT...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE ARGUMENT...")
	}
	err := ts.Exec("coffer", args[1:]...)
	code := "0"
	if err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("coffer: %v", err)
		}
		code = fmt.Sprint(exit.ExitCode())
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// followed runs coffer, writes to a path until coffer has printed it, and interrupts
// it, which must end well: followed PATH ARGUMENT... What it printed is in the file "followed".
func followed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: followed PATH ARGUMENT...")
	}
	var printed testkit.Output
	follower := exec.Command(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "coffer"), args[1:]...)
	for _, name := range []string{"COFFER_ADDR", "COFFER_CACERT", "COFFER_TOKEN_FILE", "PATH"} {
		follower.Env = append(follower.Env, name+"="+ts.Getenv(name))
	}
	follower.Stdout, follower.Stderr = &printed, &printed
	ts.Check(follower.Start())
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(printed.String(), args[0]) && time.Now().Before(deadline) {
		ts.Check(ts.Exec("coffer", "put", args[0], "--generate"))
		<-tick.C
	}
	ts.Check(follower.Process.Signal(os.Interrupt))
	if err := follower.Wait(); err != nil {
		ts.Fatalf("coffer %s: %v\n%s", strings.Join(args[1:], " "), err, printed.String())
	}
	ts.Check(os.WriteFile(ts.MkAbs("followed"), []byte(printed.String()), 0o600))
}
