package helm

import (
	"bytes"
	"errors"
	"io"
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
	root      = "../../.."
	release   = "coffer"
	namespace = "coffer-system"
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
	manifest, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, manifest)
}

func template(t *testing.T, values map[string]any) (string, error) {
	t.Helper()
	chart, err := loader.Load(root + "/charts/coffer")
	if err != nil {
		t.Fatal(err)
	}
	install := action.NewInstall(&action.Configuration{Log: t.Logf})
	install.DryRun, install.ClientOnly = true, true
	install.ReleaseName, install.Namespace = release, namespace
	install.KubeVersion = &chartutil.KubeVersion{Version: "v1.37.0", Major: "1", Minor: "37"}
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
