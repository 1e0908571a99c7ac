package manifests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/coffer-vault/coffer/hack/sampleapp/fingerprint"
)

// Each sample is taken by the API server as it is written, without a field that it does
// not know, and comes with `kubectl apply -k config/samples`.
func TestEverySampleApplies(t *testing.T) {
	config := cluster(t)
	kubectl(t, config, "apply", "--server-side", "-k", root+"/config/samples")
	files := 0
	err := filepath.WalkDir(root+"/config/samples", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "kustomization.yaml" {
			return err
		}
		files++
		t.Run(strings.TrimPrefix(path, root+"/config/samples/"), func(t *testing.T) {
			kubectl(t, config, "get", "-f", path, "-o", "name") // it is there already
			out := kubectl(t, config, "apply", "--server-side", "--validate=strict", "-f", path)
			if !strings.Contains(out, "serverside-applied") || strings.Contains(out, "Warning") {
				t.Errorf("applied as:\n%s", out)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 14 {
		t.Errorf("only %d samples found", files)
	}
}

// The pods of the verified sample accept the fingerprints of the passwords that its
// comment names, and no others; those are the passwords that the README types.
func TestVerifiedSampleAcceptsItsPasswords(t *testing.T) {
	text, err := os.ReadFile(root + "/config/samples/verified/deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	deployment := &appsv1.Deployment{}
	if err := yaml.UnmarshalStrict(text, deployment); err != nil {
		t.Fatal(err)
	}
	environment := map[string]string{}
	for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
		environment[variable.Name] = variable.Value
	}
	comment := regexp.MustCompile(`(?m)^#.*the passwords "(.+)" and "(.+)" are good\.$`).FindSubmatch(text)
	if comment == nil {
		t.Fatal("no comment of the sample says which passwords are good")
	}
	var want []string
	for _, password := range comment[1:] {
		want = append(want, fingerprint.Of(environment["FINGERPRINT_KEY"], password))
	}
	if diff := cmp.Diff(want, strings.Split(environment["ACCEPTED"], ",")); diff != "" {
		t.Errorf("fingerprints in ACCEPTED (-of the passwords +got):\n%s", diff)
	}
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range comment[1:] {
		if !strings.Contains(string(readme), "printf '"+string(password)+"'") {
			t.Errorf("the README does not type the password %q", password)
		}
	}
}
