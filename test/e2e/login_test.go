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
