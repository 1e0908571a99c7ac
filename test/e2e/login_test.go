//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A person with nothing but a kubeconfig logs in and reads through a port-forward: the
// Service's name means nothing outside the cluster.
func TestLoginThroughPortForward(t *testing.T) {
	e := newEnvironment(t)
	path := e.path("login")
	const value = "read through a port-forward"
	e.put(t, path, value)
	home := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "coffer", args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KUBECONFIG=" + os.Getenv("KUBECONFIG"), "HOME=" + home}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("coffer %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
		}
		return string(out)
	}
	account := e.namespace + "/api"
	if got := run("login", "port-forward", "--as-service-account", account); got != "Logged in to port-forward as "+account+". No token is stored.\n" {
		t.Errorf("login printed %q", got)
	}
	if got := run("get", path); got != value {
		t.Error("the value read through the port-forward is another one")
	}
	if got := run("whoami", "-o", "name"); strings.TrimSpace(got) != account {
		t.Errorf("whoami printed %q", got)
	}
	run("logout")
}

// As a plugin of kubectl, for the administrator of the environment.
func TestPluginOfKubectl(t *testing.T) {
	e := newEnvironment(t)
	path, account := e.path("plugin"), e.namespace+"/api"
	const value = "read through kubectl"
	e.put(t, path, value)
	for _, test := range []struct {
		args []string
		want string // what is printed contains it
	}{
		{[]string{"list", "production/" + e.namespace, "-o", "name"}, path + "\n"},
		{[]string{"explain", path, "--service-account", account}, account + " (environment production) may read " + path + ": "},
		{[]string{"audit", "--path", path, "--action", "put"}, path},
		{[]string{"run", "--env", "KEY=" + path, "--", "sh", "-c", `echo "KEY is $KEY"`}, "KEY is " + value + "\n"},
	} {
		out, err := exec.CommandContext(t.Context(), "kubectl", append([]string{"coffer"}, test.args...)...).Output()
		if err != nil || !strings.Contains(string(out), test.want) {
			t.Errorf("kubectl coffer %s: %v", strings.Join(test.args, " "), err)
		}
	}
}
