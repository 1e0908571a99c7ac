package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// prepareLogins makes what an installation has besides its server: in coffer-system the
// published authority, a Service, and a pod that is not ready. The kubeconfig gets the
// context "alice", of a user without rights.
func (i *installation) prepareLogins(t *testing.T) {
	t.Helper()
	authority, err := os.ReadFile(i.caCert)
	must(t, err)
	labels := map[string]string{"app.kubernetes.io/name": "coffer"}
	named := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}
	}
	service := corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "coffer-system"}},
		&corev1.ConfigMap{ObjectMeta: named("coffer-system", "coffer-ca"), Data: map[string]string{"ca.crt": string(authority)}},
		&corev1.Service{ObjectMeta: named("coffer-system", "coffer"), Spec: service},
		&corev1.ServiceAccount{ObjectMeta: named("coffer-system", "default")},
		&corev1.Pod{ObjectMeta: named("coffer-system", "coffer-0"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "manager", Image: "coffer"}}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "coffer-broken"}},
		&corev1.ConfigMap{ObjectMeta: named("coffer-broken", "coffer-ca"), Data: map[string]string{"ca.crt": "none"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "coffer-twice"}},
		&corev1.Service{ObjectMeta: named("coffer-twice", "one"), Spec: service},
		&corev1.Service{ObjectMeta: named("coffer-twice", "two"), Spec: service},
	} {
		must(t, client.IgnoreAlreadyExists(i.kube.Create(t.Context(), o)))
	}
	config, err := clientcmd.LoadFromFile(i.kubeconfig)
	must(t, err)
	alice := config.AuthInfos["admin"].DeepCopy()
	alice.Impersonate = "alice@example.org"
	config.AuthInfos["alice"] = alice
	config.Contexts["alice"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "alice"}
	must(t, clientcmd.WriteToFile(*config, i.kubeconfig))
}

// runsNext runs the commands of kubectl that the last command has printed to its error stream:
// runsnext FILE, which has what it printed.
func runsNext(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: runsnext FILE")
	}
	ran := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "kubectl ") {
			continue
		}
		ran++
		cmd := exec.Command("sh", "-c", line)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+ts.Getenv("ADMIN"), "PATH="+ts.Getenv("PATH"))
		if output, err := cmd.CombinedOutput(); err != nil {
			ts.Fatalf("%s: %v\n%s", line, err, output)
		}
	}
	if ran == 0 {
		ts.Fatalf("%s names no command of kubectl", args[0])
	}
}

// What is remembered comes back as it was, is for its owner alone, and holds no token.
func TestLoginsFile(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	none, err := readLogins()
	must(t, err)
	if len(none.Logins) != 0 {
		t.Fatalf("there are %d logins at first", len(none.Logins))
	}
	var l logins
	l.add(login{Name: "west", Context: "west", Namespace: "coffer-system", ServiceAccount: "payments/alice"})
	l.add(login{Name: "east", Context: "admin@east", Namespace: "vault", ServiceAccount: "payments/bob", Address: "https://coffer.example", Audience: "vault"})
	l.add(login{Name: "west", Context: "west", Namespace: "coffer-system", ServiceAccount: "payments/carol"})
	must(t, l.write())
	got, err := readLogins()
	must(t, err)
	want := logins{Current: "west", Logins: []login{
		{Name: "east", Context: "admin@east", Namespace: "vault", ServiceAccount: "payments/bob", Address: "https://coffer.example", Audience: "vault"},
		{Name: "west", Context: "west", Namespace: "coffer-system", ServiceAccount: "payments/carol"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	file, err := loginsFile()
	must(t, err)
	for path, mode := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), mode)
		}
	}
}

func TestLoginsPick(t *testing.T) {
	all := logins{Current: "a", Logins: []login{{Name: "a", Context: "east"}, {Name: "b", Context: "west"}, {Name: "c", Context: "west"}}}
	for name, test := range map[string]struct {
		logins  logins
		context string
		want    string
	}{
		"the current one":                {all, "", "a"},
		"its context":                    {all, "east", "a"},
		"another context":                {all, "west", "b"},
		"the current one of two":         {logins{Current: "c", Logins: all.Logins}, "west", "c"},
		"an unknown context":             {all, "north", ""},
		"none is current":                {logins{Logins: all.Logins}, "", ""},
		"none is current, but a context": {logins{Logins: all.Logins}, "west", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.logins.pick(test.context); got.Name != test.want {
				t.Errorf("got %q, want %q", got.Name, test.want)
			}
		})
	}
}
