package manifest

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/cli/source"
)

var account = types.NamespacedName{Namespace: "payments", Name: "api"}

func TestNameOf(t *testing.T) {
	for text, want := range map[string]string{
		"app": "app", "app_web": "app-web", "My App!": "my-app", ".env": "env", "a..b": "a.b", "_-_": "", "ä": "", "-a-.-b-": "a.b",
		strings.Repeat("a", 300): strings.Repeat("a", 253),
	} {
		if got := NameOf(text); got != want {
			t.Errorf("NameOf(%q) is %q, want %q", text, got, want)
		}
	}
}

// Whatever the text, the name is one that Kubernetes takes, or none.
func TestNameOfIsAName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if name := NameOf(text); name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
			t.Fatalf("%q gives %q", text, name)
		}
	})
}

func TestVaultSecretBounds(t *testing.T) {
	i := Import{Source: source.Source{Kind: source.KindFile, Name: ".env"}, Account: account, Name: "app"}
	for n := range maxData + 1 {
		i.Keys = append(i.Keys, Key{Name: fmt.Sprintf("K%d", n), Path: fmt.Sprintf("a/k%d", n)})
	}
	if _, err := VaultSecret(i); err == nil || !strings.Contains(err.Error(), "without --split") {
		t.Errorf("error %v", err)
	}
	i.Keys = i.Keys[:maxData]
	if vs, err := VaultSecret(i); err != nil || len(vs.Spec.Data) != maxData || vs.Spec.Target.Adopt {
		t.Errorf("error %v", err)
	}
	i.Name = ""
	if _, err := VaultSecret(i); err == nil || !strings.Contains(err.Error(), "no name") {
		t.Errorf("error %v", err)
	}
}

func TestVaultPolicy(t *testing.T) {
	var paths []string
	for n := range maxPaths + 1 {
		paths = append(paths, fmt.Sprintf("a/%03d", n), fmt.Sprintf("a/%03d", n))
	}
	policy, err := VaultPolicy(account, paths)
	if err != nil || len(policy.Spec.Rules) != 2 || len(policy.Spec.Rules[0].Paths) != maxPaths || len(policy.Spec.Rules[1].Paths) != 1 {
		t.Fatalf("%v, %v", policy, err)
	}
	other, err := VaultPolicy(account, paths[:2])
	if err != nil || other.Name == policy.Name {
		t.Errorf("policies of other paths share the name %s: applying one takes away what the other allows", policy.Name)
	}
	same, err := VaultPolicy(account, append(paths, paths...))
	if err != nil || same.Name != policy.Name {
		t.Errorf("the policy of the same paths has the names %s and %s", same.Name, policy.Name)
	}
	for _, others := range [][2]types.NamespacedName{
		{{Namespace: "a", Name: "b-c"}, {Namespace: "a-b", Name: "c"}},
		{{Namespace: "a", Name: strings.Repeat("b", maxNamePrefix) + "1"}, {Namespace: "a", Name: strings.Repeat("b", maxNamePrefix) + "2"}},
	} {
		one, err := VaultPolicy(others[0], paths)
		two, err2 := VaultPolicy(others[1], paths)
		if err != nil || err2 != nil || one.Name == two.Name {
			t.Errorf("policies of %v share the name %s: applying one takes away what the other allows", others, one.Name)
		}
	}
	paths = nil
	for n := range maxPaths*maxRules + 1 {
		paths = append(paths, fmt.Sprintf("a/%d", n))
	}
	if _, err := VaultPolicy(account, paths); err == nil || !strings.Contains(err.Error(), "without --split") {
		t.Errorf("error %v", err)
	}
}

// What is written is read back strictly by the types of the API.
func TestEncodeIsStrict(t *testing.T) {
	i := Import{
		Source: source.Source{Kind: source.KindSecret, Namespace: "payments", Name: "web", Type: "kubernetes.io/tls"}, Account: account, Name: "web", Whole: true,
		Keys: []Key{{Name: "tls.crt", Path: "a/b", Property: "tls.crt"}, {Name: "blob", Path: "a/b", Property: "blob", Base64: true}},
	}
	vs, err := VaultSecret(i)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := Encode(vs, vs)
	if err != nil {
		t.Fatal(err)
	}
	documents := strings.Split(string(stream), "---\n")
	if len(documents) != 2 || strings.Contains(documents[0], "status") {
		t.Fatalf("the stream is\n%s", stream)
	}
	var got vaultv1alpha1.VaultSecret
	if err := yaml.UnmarshalStrict([]byte(documents[1]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Spec.Path != "a/b" || len(got.Spec.Data) != 1 || got.Spec.Data[0].Decode != vaultv1alpha1.DecodeBase64 || !got.Spec.Target.Adopt || got.Spec.Target.Type != "kubernetes.io/tls" {
		t.Errorf("%+v", got.Spec)
	}
}
