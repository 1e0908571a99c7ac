package helm

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// dict is a map of values.
type dict = map[string]any

// everyConnectionFile gives all that database and redis can name; redis takes its
// authority from a ConfigMap and other keys.
var everyConnectionFile = dict{
	"database": dict{
		"password": dict{"secret": "db-login"}, "ca": dict{"secret": "db-ca"}, "clientCert": dict{"secret": "db-client"},
	},
	"databaseOwner": dict{"password": dict{"secret": "owner-login"}, "clientCert": dict{"secret": "owner-client"}},
	"redis": dict{
		"password": dict{"secret": "cache", "key": "pass"}, "ca": dict{"configMap": "cache-ca", "key": "root.pem"},
		"clientCert": dict{"secret": "cache", "certKey": "client.pem", "keyKey": "client-key.pem"},
	},
}

// settings are sets of values that together give every flag which has a value.
func settings() []dict {
	transit := dict{"address": "https://bao.example.com:8200", "key": "coffer", "namespace": "team", "caConfigMap": "bao-ca"}
	with := func(key string, value any) dict {
		d := dict{key: value}
		for k, v := range transit {
			d[k] = v
		}
		return d
	}
	root := func(source dict, previous dict) dict {
		source["previous"] = previous
		return dict{"rootKey": source}
	}
	return []dict{
		everyConnectionFile,
		{
			"clusterName": "eu-1", "watchNamespaces": []any{"payments"}, "defaultEnvironment": "staging", "logLevel": "debug", "tokenAudience": "vault", "cacheSize": "1Gi", "readerWindow": "48h",
			"webhookRotator": dict{"allowedHosts": []any{"rotator.payments.svc"}, "allowedNetworks": []any{"10.96.0.0/12"}, "allowHTTP": true},
			"oidc":           dict{"configMap": "issuers"},
			"leaderElection": dict{"id": "coffer-2"}, "apiTLS": dict{"sans": []any{"coffer.example.com"}, "existingSecret": "tls"},
		},
		root(dict{"source": "transit", "transit": with("kubernetesRole", "coffer")}, dict{"source": "transit", "transit": with("tokenSecret", "bao")}),
		root(dict{"source": "transit", "transit": with("tokenSecret", "bao")}, dict{"source": "transit", "transit": with("kubernetesRole", "coffer")}),
		root(dict{"source": "kms"}, dict{"source": "keyFile"}),
		root(dict{"source": "keyFile"}, dict{"source": "kms"}),
		root(dict{"source": "passphrase"}, dict{"source": "keyFile"}),
		root(dict{"source": "kms"}, dict{"source": "passphrase"}),
	}
}

// TestEveryFlagCanBeSet checks that each flag of the manager is either given by a
// value of the chart or can be added with extraArgs, and that the chart gives no
// flag that the manager has not. The flags are the rows of docs/operations.md, which
// test/docs holds to the program.
func TestEveryFlagCanBeSet(t *testing.T) {
	byValue := map[string]bool{}
	for _, values := range settings() {
		for _, flag := range flagsOf(managerArgs(t, values)) {
			byValue[flag] = true
		}
	}
	page, err := os.ReadFile(root + "/docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)`").FindAllStringSubmatch(string(page), -1) {
		flag := row[1]
		known[flag] = true
		switch {
		case byValue[flag]:
		case strings.HasPrefix(flag, "root-"), strings.HasSuffix(flag, "-file") && !strings.HasSuffix(flag, "-url-file"):
			// More than one argument: a file has to be mounted, and of root keys there is one.
			t.Errorf("no value of the chart gives --%s", flag)
		default:
			args := managerArgs(t, dict{"extraArgs": []any{"--" + flag + "=x"}})
			if last := args[len(args)-1]; last != "--"+flag+"=x" {
				t.Errorf("extraArgs does not win with --%s: the last argument is %s", flag, last)
			}
		}
	}
	if len(known) < 40 {
		t.Errorf("docs/operations.md has only %d flags", len(known))
	}
	for flag := range byValue {
		if !known[flag] {
			t.Errorf("the chart gives --%s, which is no flag of the manager", flag)
		}
	}
}

func managerArgs(t *testing.T, values dict) []string {
	t.Helper()
	list, _ := manager(t, values)["args"].([]any)
	args := make([]string, len(list))
	for i, arg := range list {
		args[i] = arg.(string)
	}
	return args
}

func manager(t *testing.T, values dict) dict {
	t.Helper()
	deployment := renderChart(t, values)["Deployment coffer"]
	return nested(t, deployment, "spec", "template", "spec", "containers").([]any)[0].(dict)
}

func flagsOf(args []string) []string {
	var flags []string
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		flags = append(flags, name)
	}
	return flags
}

// TestConnectionFilesAreMounted checks that each file that a flag names is in the
// volume, from the Secret or ConfigMap that the values name.
func TestConnectionFilesAreMounted(t *testing.T) {
	item := func(key, path string) any { return dict{"key": key, "path": path} }
	source := func(kind, name string, items ...any) any { return dict{kind: dict{"name": name, "items": items}} }
	deployment := renderChart(t, everyConnectionFile)["Deployment coffer"]
	volumes := nested(t, deployment, "spec", "template", "spec", "volumes").([]any)
	sources := nested(t, volumes[0].(dict), "projected", "sources").([]any)
	want := []any{
		source("secret", "db-login", item("password", "database/password")),
		source("secret", "db-ca", item("ca.crt", "database/ca.crt")),
		source("secret", "db-client", item("tls.crt", "database/tls.crt"), item("tls.key", "database/tls.key")),
		source("secret", "owner-login", item("password", "database-owner/password")),
		source("secret", "owner-client", item("tls.crt", "database-owner/tls.crt"), item("tls.key", "database-owner/tls.key")),
		source("secret", "cache", item("pass", "redis/password")),
		source("configMap", "cache-ca", item("root.pem", "redis/ca.crt")),
		source("secret", "cache", item("client.pem", "redis/tls.crt"), item("client-key.pem", "redis/tls.key")),
	}
	if len(sources) < 3 {
		t.Fatalf("the volume has %d sources", len(sources))
	}
	// The first three are the Secret of config.
	if diff := cmp.Diff(want, sources[3:]); diff != "" {
		t.Errorf("sources of the volume (-want +got):\n%s", diff)
	}
	wantArgs := []string{
		"--database-password-file=/etc/coffer/database/password", "--database-ca-file=/etc/coffer/database/ca.crt",
		"--database-cert-file=/etc/coffer/database/tls.crt", "--database-key-file=/etc/coffer/database/tls.key",
		"--database-owner-password-file=/etc/coffer/database-owner/password",
		"--database-owner-cert-file=/etc/coffer/database-owner/tls.crt", "--database-owner-key-file=/etc/coffer/database-owner/tls.key",
		"--redis-password-file=/etc/coffer/redis/password", "--redis-ca-file=/etc/coffer/redis/ca.crt",
		"--redis-cert-file=/etc/coffer/redis/tls.crt", "--redis-key-file=/etc/coffer/redis/tls.key",
	}
	if diff := cmp.Diff(wantArgs, managerArgs(t, everyConnectionFile)[4:]); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
}

// TestEveryMountHasItsVolume checks all settings for what the API server would
// refuse: a mount without volume, a volume or a path that is there twice.
func TestEveryMountHasItsVolume(t *testing.T) {
	hostPaths := dict{"rootKey": dict{
		"source": "kms", "kms": dict{"hostPath": "/run/kms"}, "previous": dict{"source": "kms", "kms": dict{"hostPath": "/run/kms-old"}},
	}}
	for _, values := range append(settings(), hostPaths, dict{}) {
		deployment := renderChart(t, values)["Deployment coffer"]
		volumes := map[string]bool{}
		for _, v := range nested(t, deployment, "spec", "template", "spec", "volumes").([]any) {
			name := v.(dict)["name"].(string)
			if volumes[name] {
				t.Errorf("%v: the volume %s is there twice", values, name)
			}
			volumes[name] = true
		}
		paths, mounted := map[string]bool{}, 0
		for _, m := range manager(t, values)["volumeMounts"].([]any) {
			name, path := m.(dict)["name"].(string), m.(dict)["mountPath"].(string)
			if !volumes[name] || paths[path] {
				t.Errorf("%v: the mount %s at %s has no volume, or another is there", values, name, path)
			}
			paths[path] = true
			mounted++
		}
		if mounted != len(volumes) {
			t.Errorf("%v: %d of %d volumes are mounted", values, mounted, len(volumes))
		}
	}
}
