package helm

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// rule is one of a role.
type rule struct {
	APIGroups     []string `json:"apiGroups"`
	Resources     []string `json:"resources"`
	ResourceNames []string `json:"resourceNames"`
	Verbs         []string `json:"verbs"`
}

// role is a Role or a ClusterRole, as far as these tests look.
type role struct {
	Kind     string                           `json:"kind"`
	Metadata struct{ Name, Namespace string } `json:"metadata"`
	Rules    []rule                           `json:"rules"`
}

// grants are the single rights of rules, as "group/resource verb".
func grants(rules []rule) []string {
	var all []string
	for _, r := range rules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					all = append(all, group+"/"+resource+" "+verb)
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func readRole(t *testing.T, file string) role {
	t.Helper()
	text, err := os.ReadFile(root + "/config/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var r role
	if err := yaml.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLimitedRolesAreTheWholeOne checks that a limited manager has what one of the whole
// cluster has, but for what is for ClusterVaultSecrets and VaultRotations.
func TestLimitedRolesAreTheWholeOne(t *testing.T) {
	var want []string
	for _, right := range grants(readRole(t, "rbac/role.yaml").Rules) {
		switch {
		case strings.Contains(right, "/clustervaultsecrets"), strings.Contains(right, "/vaultrotations"), strings.HasSuffix(right, " sync-as"):
		case slices.Contains([]string{"create", "update", "delete"}, strings.TrimPrefix(right, "vault.coffer.dev/vaultsecrets ")):
		default:
			want = append(want, right)
		}
	}
	got := grants(append(readRole(t, "limited/role.yaml").Rules, readRole(t, "limited/cluster_role.yaml").Rules...))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights (-config/rbac/role.yaml +config/limited):\n%s", diff)
	}
}

// TestLimitedRoleIsOfNoNamespace checks that what somebody applies without the names gives
// no namespace, as an empty list would give all.
func TestLimitedRoleIsOfNoNamespace(t *testing.T) {
	for _, r := range readRole(t, "limited/cluster_role.yaml").Rules {
		if !slices.Contains(r.Resources, "namespaces") {
			continue
		}
		if len(r.ResourceNames) == 0 {
			t.Error("without resourceNames the rule is for all namespaces")
		}
		for _, name := range r.ResourceNames {
			if len(validation.IsDNS1123Label(name)) == 0 {
				t.Errorf("a namespace may have the name %q", name)
			}
		}
	}
}

// TestWatchNamespaces checks what the chart makes of watchNamespaces: a Role with its
// binding in each, a ClusterRole without a right to namespaced objects, and the flag.
func TestWatchNamespaces(t *testing.T) {
	values := dict{"watchNamespaces": []any{"payments", "checkout", "payments"}}
	manifest, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]role{}
	bound := map[string]string{}
	for text := range strings.SplitSeq(manifest, "\n---\n") {
		var r role
		if err := yaml.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		if r.Metadata.Name != "coffer-manager" {
			continue
		}
		key := r.Kind + " " + r.Metadata.Namespace
		switch r.Kind {
		case "Role", "ClusterRole":
			roles[key] = r
		case "RoleBinding", "ClusterRoleBinding":
			var binding struct {
				RoleRef struct {
					Kind string `json:"kind"`
				} `json:"roleRef"`
				Subjects []struct{ Name, Namespace string } `json:"subjects"`
			}
			if err := yaml.Unmarshal([]byte(text), &binding); err != nil {
				t.Fatal(err)
			}
			bound[binding.RoleRef.Kind+" "+r.Metadata.Namespace] = binding.Subjects[0].Namespace + "/" + binding.Subjects[0].Name
		}
	}
	const account = namespace + "/coffer"
	want := map[string]string{"Role checkout": account, "Role payments": account, "ClusterRole ": account}
	if diff := cmp.Diff(want, bound); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	wantRights := map[string][]string{}
	for key, file := range map[string]string{"Role checkout": "role", "Role payments": "role", "ClusterRole ": "cluster_role"} {
		wantRights[key] = grants(readRole(t, "limited/"+file+".yaml").Rules)
	}
	rights := map[string][]string{}
	for key, r := range roles {
		rights[key] = grants(r.Rules)
	}
	if diff := cmp.Diff(wantRights, rights); diff != "" {
		t.Errorf("rights (-want +got):\n%s", diff)
	}
	for _, r := range roles["ClusterRole "].Rules {
		if slices.Contains(r.Resources, "namespaces") && !slices.Equal(r.ResourceNames, []string{"checkout", namespace, "payments"}) {
			t.Errorf("it may read the namespaces %q", r.ResourceNames)
		}
	}
	if !strings.Contains(manifest, "- --watch-namespaces=checkout,payments\n") {
		t.Error("the manager is not told of them")
	}
	if _, err := template(t, dict{"watchNamespaces": []any{"Payments"}}); err == nil || !strings.Contains(err.Error(), "/watchNamespaces/0") {
		t.Errorf("a name that is none gives %v", err)
	}
}
