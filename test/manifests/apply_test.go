package manifests

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/coffer-vault/coffer/internal/testkit"
)

const root = "../.."

// cluster is a kube-apiserver with config/default on it, as a user installs it.
func cluster(t *testing.T) *rest.Config {
	t.Helper()
	readManifests(t)
	config := testkit.Kube(t, root+"/config/crd/bases")
	kubectl(t, config, "apply", "--server-side", "-k", root+"/config/default")
	kubectl(t, config, "wait", "--for=condition=Established", "--timeout=30s", "crd/vaultsecrets.vault.coffer.dev", "crd/vaultpolicies.vault.coffer.dev", "crd/clustervaultsecrets.vault.coffer.dev", "crd/vaultrotations.vault.coffer.dev")
	return config
}

// readManifests makes Go's test cache notice changes of the files that kubectl
// reads.
func readManifests(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root+"/config", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestManifestsApply(t *testing.T) {
	config := cluster(t)
	for _, dir := range []string{"config/default", "config/local", "config/samples"} {
		t.Run(dir, func(t *testing.T) {
			out := kubectl(t, config, "apply", "--server-side", "--validate=strict", "-k", root+"/"+dir)
			if strings.Contains(out, "Warning") {
				t.Errorf("applied with warnings:\n%s", out)
			}
		})
	}
}

// An overlay with `namespace:` puts it on the admission policy as well, since kustomize
// does not know the kind. The API server takes the policy all the same.
func TestOverlayWithNamespaceApplies(t *testing.T) {
	config := cluster(t)
	dir := t.TempDir()
	base, err := filepath.Abs(root + "/config/admission")
	if err != nil {
		t.Fatal(err)
	}
	base, err = filepath.Rel(dir, base)
	if err != nil {
		t.Fatal(err)
	}
	overlay := "namespace: vault\nresources: [" + base + "]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	out := kubectl(t, config, "apply", "--server-side", "--field-manager=overlay", "--force-conflicts", "--dry-run=server", "-k", dir, "-o", "yaml")
	if !strings.Contains(out, "kind: ValidatingAdmissionPolicy\n") || strings.Contains(out, "namespace: vault") {
		t.Errorf("applied as:\n%s", out)
	}
}

// kubectl runs the kubectl of the test's assets as administrator and returns what
// it says.
func kubectl(t *testing.T, config *rest.Config, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig(t, config))
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func kubeconfig(t *testing.T, config *rest.Config) string {
	t.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	c.AuthInfos["admin"] = &clientcmdapi.AuthInfo{ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	c.CurrentContext = "test"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatal(err)
	}
	return file
}
