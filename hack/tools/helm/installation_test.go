package helm

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	root        = "../../.."
	release     = "coffer"
	namespace   = "coffer-system"
	kubeVersion = "v1.37.0"
)

// objects are the installed objects by kind and name.
type objects map[string]map[string]any

// TestChartInstallsWhatKustomizeDoes compares the chart with its default values
// and config/default, but for the labels by which Helm knows its own and the
// Namespace, which `helm install --create-namespace` makes.
func TestChartInstallsWhatKustomizeDoes(t *testing.T) {
	chart, kustomize := renderChart(t, nil), buildKustomization(t, "config/default")
	delete(kustomize, "Namespace "+namespace)
	if diff := cmp.Diff(kustomize, chart); diff != "" {
		t.Errorf("config/default (-) and charts/coffer (+) differ:\n%s", diff)
	}
}

func TestServiceMonitorIsTheSame(t *testing.T) {
	const name = "ServiceMonitor coffer"
	chart := renderChart(t, map[string]any{"serviceMonitor": map[string]any{"enabled": true}})
	if diff := cmp.Diff(buildKustomization(t, "config/prometheus")[name], chart[name]); diff != "" {
		t.Errorf("config/prometheus (-) and charts/coffer (+) differ:\n%s", diff)
	}
}

// TestPodsAreRestricted checks what the pod security standard "restricted" asks
// for, on all that a value could change.
func TestPodsAreRestricted(t *testing.T) {
	everything := map[string]any{
		"config":            map[string]any{"create": true, "databaseURL": "postgres://db/coffer", "databaseOwnerURL": "postgres://owner@db/coffer", "redisURL": "redis+sentinel://sentinel:26379/main/0", "rootKey": "current: AA=="},
		"apiTLS":            map[string]any{"existingSecret": "tls", "sans": []any{"coffer.example.com"}},
		"networkPolicy":     map[string]any{"enabled": true, "apiFrom": []any{map[string]any{"podSelector": map[string]any{}}}},
		"extraArgs":         []any{"--leader-election-id=other"},
		"extraEnv":          []any{map[string]any{"name": "HTTPS_PROXY", "value": "http://proxy"}},
		"extraVolumes":      []any{map[string]any{"name": "ca", "configMap": map[string]any{"name": "ca"}}},
		"extraVolumeMounts": []any{map[string]any{"name": "ca", "mountPath": "/etc/ssl/extra"}},
		"priorityClassName": "system-cluster-critical",
		"database":          everyConnectionFile["database"],
		"redis":             everyConnectionFile["redis"],
		"image":             map[string]any{"pullPolicy": "Always", "tag": "v9"},
		"podLabels":         map[string]any{"team": "platform"},
	}
	for name, values := range map[string]map[string]any{"default values": nil, "every value": everything} {
		t.Run(name, func(t *testing.T) {
			pod := renderChart(t, values)["Deployment coffer"]
			want := map[string]any{
				"runAsNonRoot": true, "runAsUser": int64(65532), "runAsGroup": int64(65532), "fsGroup": int64(65532),
				"seccompProfile": map[string]any{"type": "RuntimeDefault"},
			}
			if diff := cmp.Diff(want, nested(t, pod, "spec", "template", "spec", "securityContext")); diff != "" {
				t.Errorf("pod (-want +got):\n%s", diff)
			}
			containers := nested(t, pod, "spec", "template", "spec", "containers").([]any)
			want = map[string]any{
				"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
				"capabilities": map[string]any{"drop": []any{"ALL"}},
			}
			if diff := cmp.Diff(want, nested(t, containers[0].(map[string]any), "securityContext")); diff != "" {
				t.Errorf("container (-want +got):\n%s", diff)
			}
		})
	}
}

// TestValuesReachTheManager checks that each value which is a setting becomes
// the flag of it.
func TestValuesReachTheManager(t *testing.T) {
	deployment := renderChart(t, map[string]any{
		"clusterName": "eu-1", "defaultEnvironment": "staging", "logLevel": "debug", "tokenAudience": "vault",
		"apiTLS":    map[string]any{"sans": []any{"coffer.example.com", "192.0.2.1"}, "existingSecret": "tls"},
		"audit":     map[string]any{"retentionMonths": 13, "stdout": true},
		"extraArgs": []any{"--metrics-bind-address=0"},
	})["Deployment coffer"]
	container := nested(t, deployment, "spec", "template", "spec", "containers").([]any)[0].(map[string]any)
	want := []any{
		"--cluster-name=eu-1", "--leader-elect=true", "--api-service=coffer", "--root-key-file=/etc/coffer/root/key",
		"--default-environment=staging", "--audit-retention-months=13", "--log-level=debug", "--audit-log=stdout", "--token-audience=vault",
		"--api-tls-san=coffer.example.com", "--api-tls-san=192.0.2.1", "--api-tls-dir=/etc/coffer-api-tls",
		"--metrics-bind-address=0",
	}
	if diff := cmp.Diff(want, container["args"]); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
}

func TestValuesThatCannotWorkAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		values map[string]any
		want   string
	}{
		"several leaders":      {map[string]any{"leaderElection": map[string]any{"enabled": false}}, "/replicas"},
		"unknown value":        {map[string]any{"replicaCount": 3}, "replicaCount"},
		"created without URLs": {map[string]any{"config": map[string]any{"create": true}}, "config.databaseURL"},
		"negative retention":   {map[string]any{"audit": map[string]any{"retentionMonths": -1}}, "/audit/retentionMonths"},
		"two authorities":      {map[string]any{"redis": map[string]any{"ca": map[string]any{"secret": "a", "configMap": "b"}}}, "redis.ca names a Secret and a ConfigMap"},
		"transit nowhere":      {map[string]any{"rootKey": map[string]any{"previous": map[string]any{"source": "transit"}}}, "set rootKey.previous.transit.address"},
		"an HTTP cache":        {map[string]any{"config": map[string]any{"redisURL": "http+cluster://cache"}}, "/config/redisURL"},
		"a cache of words":     {map[string]any{"cacheSize": "plenty"}, "/cacheSize"},
		"an HTTP database":     {map[string]any{"config": map[string]any{"databaseURL": "http://db"}}, "/config/databaseURL"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := template(t, test.values)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one about %s", err, test.want)
			}
		})
	}
}

// TestAdmissionCanBeLeftOut checks that without the policy neither its binding nor
// the role that means nothing without it is left.
func TestAdmissionCanBeLeftOut(t *testing.T) {
	with := renderChart(t, nil)
	without := renderChart(t, map[string]any{"admission": map[string]any{"enabled": false}})
	for _, name := range []string{
		"ValidatingAdmissionPolicy coffer-vaultsecret-account",
		"ValidatingAdmissionPolicyBinding coffer-vaultsecret-account",
		"ValidatingAdmissionPolicy coffer-clustervaultsecret-account",
		"ValidatingAdmissionPolicyBinding coffer-clustervaultsecret-account",
		"ValidatingAdmissionPolicy coffer-vaultrotation-account",
		"ValidatingAdmissionPolicyBinding coffer-vaultrotation-account",
		"ClusterRole coffer-vaultsecret-deployer",
	} {
		if with[name] == nil {
			t.Errorf("%s is not installed by default", name)
		}
		delete(with, name)
	}
	if diff := cmp.Diff(with, without); diff != "" {
		t.Errorf("the rest differs (-with +without):\n%s", diff)
	}
}

// TestInjectionFollowsTheValues: it can be left out, is left out where the API server has no
// such policies, and says where the release's own API is, to whom its tokens are.
func TestInjectionFollowsTheValues(t *testing.T) {
	const policy, binding = "MutatingAdmissionPolicy coffer-injection", "MutatingAdmissionPolicyBinding coffer-injection"
	variables := func(chart objects) map[string]any {
		found := map[string]any{}
		for _, v := range nested(t, chart[policy], "spec", "variables").([]any) {
			found[v.(dict)["name"].(string)] = v.(dict)["expression"]
		}
		return found
	}
	rest := renderChart(t, nil)
	delete(rest, policy)
	delete(rest, binding)
	for name, without := range map[string]objects{
		"turned off":      renderChart(t, dict{"injection": dict{"enabled": false}}),
		"Kubernetes 1.35": renderChartFor(t, "v1.35.4", namespace, nil),
	} {
		if diff := cmp.Diff(rest, without); diff != "" {
			t.Errorf("%s: the rest differs (-with +without):\n%s", name, diff)
		}
	}
	if renderChartFor(t, "v1.36.0", namespace, nil)[policy] == nil {
		t.Error("it is not installed on Kubernetes 1.36")
	}

	other := variables(renderChartFor(t, "v1.37.0", "vault", dict{"tokenAudience": "vault", "service": dict{"port": 8443}}))
	if other["audience"] != `"vault"` || other["address"] != `"https://coffer.vault.svc:8443"` {
		t.Errorf("the audience is %s and the address %s", other["audience"], other["address"])
	}
	manifest, err := template(t, dict{"watchNamespaces": []any{"payments", "checkout", "payments"}})
	if err != nil {
		t.Fatal(err)
	}
	limited := objects{} // the Roles are there once in each namespace
	for text := range strings.SplitSeq(manifest, "\n---\n") {
		if strings.Contains(text, "\nkind: MutatingAdmissionPolicyBinding\n") {
			limited = parse(t, text)
		}
	}
	want := dict{"namespaceSelector": dict{"matchExpressions": []any{
		dict{"key": "kubernetes.io/metadata.name", "operator": "In", "values": []any{"checkout", "payments"}},
	}}}
	if diff := cmp.Diff(want, nested(t, limited[binding], "spec", "matchResources")); diff != "" {
		t.Errorf("what the policy is bound to (-want +got):\n%s", diff)
	}
}

// TestInjectionCanBePatchedOut builds what docs/operations.md says for clusters without such policies.
func TestInjectionCanBePatchedOut(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, patch, found := strings.Cut(string(page), "```yaml\npatches:\n")
	patch, _, _ = strings.Cut(patch, "```")
	if !found {
		t.Fatal("docs/operations.md has no patches")
	}
	fs := filesys.MakeFsOnDisk()
	dir := t.TempDir()
	abs, _, err := fs.CleanedAbs(root + "/config/default")
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Rel(dir, abs.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.WriteFile(dir+"/kustomization.yaml", []byte("resources: ["+base+"]\npatches:\n"+patch)); err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	want := buildKustomization(t, "config/default")
	delete(want, "MutatingAdmissionPolicy coffer-injection")
	delete(want, "MutatingAdmissionPolicyBinding coffer-injection")
	if diff := cmp.Diff(want, parse(t, string(manifest))); diff != "" {
		t.Errorf("the rest differs (-config/default +patched):\n%s", diff)
	}
}

// TestNamespaceCanBeChanged builds what the documented overlay does: every
// namespaced object and every reference follows.
func TestNamespaceCanBeChanged(t *testing.T) {
	fs := filesys.MakeFsOnDisk()
	dir := t.TempDir()
	abs, _, err := fs.CleanedAbs(root + "/config/default")
	if err != nil {
		t.Fatal(err)
	}
	base, err := filepath.Rel(dir, abs.String())
	if err != nil {
		t.Fatal(err)
	}
	overlay := "namespace: vault\nresources: [" + base + "]\n"
	if err := fs.WriteFile(dir+"/kustomization.yaml", []byte(overlay)); err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, dir)
	if err != nil {
		t.Fatal(err)
	}
	out, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(out, []byte("coffer-system")); i >= 0 {
		t.Errorf("coffer-system is still named: …%s…", out[max(0, i-200):min(len(out), i+100)])
	}
}

func renderChart(t *testing.T, values map[string]any) objects {
	t.Helper()
	return renderChartFor(t, kubeVersion, namespace, values)
}

// renderChartFor renders it for a cluster of another version, or for another namespace.
func renderChartFor(t *testing.T, kubeVersion, namespace string, values map[string]any) objects {
	t.Helper()
	manifest, err := templateFor(t, kubeVersion, namespace, values)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, manifest)
}

func template(t *testing.T, values map[string]any) (string, error) {
	t.Helper()
	return templateFor(t, kubeVersion, namespace, values)
}

func templateFor(t *testing.T, kubeVersion, namespace string, values map[string]any) (string, error) {
	t.Helper()
	chart, err := loader.Load(root + "/charts/coffer")
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(&action.Configuration{Log: t.Logf})
	install.DryRun, install.ClientOnly = true, true
	install.ReleaseName, install.Namespace = release, namespace
	version, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		t.Fatal(err)
	}
	install.KubeVersion = version
	result, err := install.Run(chart, values)
	if err != nil {
		return "", err
	}
	return result.Manifest, nil
}

func buildKustomization(t *testing.T, dir string) objects {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), root+"/"+dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(manifest))
}

func parse(t *testing.T, manifest string) objects {
	t.Helper()
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	all := objects{}
	for {
		object := unstructured.Unstructured{}
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) == 0 {
			continue
		}
		normalise(&object)
		key := object.GetKind() + " " + object.GetName()
		if _, twice := all[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		all[key] = object.Object
	}
}

// normalise removes what Helm writes on its own objects.
func normalise(object *unstructured.Unstructured) {
	labels, annotations := object.GetLabels(), object.GetAnnotations()
	for _, key := range []string{"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"} {
		delete(labels, key)
	}
	delete(annotations, "helm.sh/resource-policy")
	object.SetLabels(labels)
	object.SetAnnotations(annotations)
}

func nested(t *testing.T, object map[string]any, fields ...string) any {
	t.Helper()
	value, found, err := unstructured.NestedFieldNoCopy(object, fields...)
	if err != nil || !found {
		t.Fatalf("%s: not found (%v)", strings.Join(fields, "."), err)
	}
	return value
}
