package manifests

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

func TestVaultSecretSpecs(t *testing.T) {
	runSpecs(t, "VaultSecret", "vaultsecrets", "default", []specTest{
		{name: "a path", spec: `{serviceAccountName: api, path: production/payments/database}`},
		{name: "single keys", spec: `{serviceAccountName: api, data: [{key: PASSWORD, path: a/b, property: password, version: 7, decode: Base64}]}`},
		{name: "everything", spec: `
serviceAccountName: api
path: a/b
target: {name: db, type: kubernetes.io/basic-auth, labels: {a: b}, annotations: {c: d}, template: {DSN: "{{ .user }}"}}
deletionPolicy: Retain
rollout: {mode: None, targets: [{kind: Deployment, name: a}, {kind: DaemonSet, name: a}, {kind: Rollout, name: a}], selector: {matchLabels: {a: b}}, debounce: 5m}
refreshInterval: 0s
suspend: true`},
		{name: "a path of 16 segments", spec: `{serviceAccountName: api, path: ` + strings.Repeat("a/", 15) + `a}`},
		{name: "dots inside segments", spec: `{serviceAccountName: api, path: a..b/.c/d...}`},

		{name: "no service account", spec: `{path: a/b}`, want: "serviceAccountName"},
		{name: "nothing to sync", spec: `{serviceAccountName: api}`, want: "name what to sync"},
		{name: "empty data", spec: `{serviceAccountName: api, data: []}`, want: "name what to sync"},
		{name: "a path upwards", spec: `{serviceAccountName: api, path: a/../b}`, want: "no '.' or '..' segment"},
		{name: "a path to here", spec: `{serviceAccountName: api, path: ./a}`, want: "no '.' or '..' segment"},
		{name: "an upper-case path", spec: `{serviceAccountName: api, path: A/b}`, want: "spec.path"},
		{name: "an empty segment", spec: `{serviceAccountName: api, path: a//b}`, want: "spec.path"},
		{name: "an encoded slash", spec: `{serviceAccountName: api, path: a%2fb}`, want: "spec.path"},
		{name: "a glob", spec: `{serviceAccountName: api, path: a/*}`, want: "spec.path"},
		{name: "a trailing newline", spec: `{serviceAccountName: api, path: "a/b\n"}`, want: "spec.path"},
		{name: "a path of 17 segments", spec: `{serviceAccountName: api, path: ` + strings.Repeat("a/", 16) + `a}`, want: "spec.path"},
		{name: "an upward path in data", spec: `{serviceAccountName: api, data: [{key: a, path: ../b}]}`, want: "no '.' or '..' segment"},
		{name: "the same key twice", spec: `{serviceAccountName: api, data: [{key: a, path: b}, {key: a, path: c}]}`, want: "Duplicate value"},
		{name: "a negative version", spec: `{serviceAccountName: api, data: [{key: a, path: b, version: -1}]}`, want: "version"},
		{name: "a token's type", spec: `{serviceAccountName: api, path: a, target: {type: kubernetes.io/service-account-token}}`, want: "grants a Kubernetes identity"},
		{name: "a bootstrap token's type", spec: `{serviceAccountName: api, path: a, target: {type: bootstrap.kubernetes.io/token}}`, want: "grants a Kubernetes identity"},
		{name: "a target outside", spec: `{serviceAccountName: api, path: a, target: {name: ../x}}`, want: "spec.target.name"},
		{name: "a negative interval", spec: `{serviceAccountName: api, path: a, refreshInterval: -1s}`, want: "cannot be negative"},
		{name: "an interval that is none", spec: `{serviceAccountName: api, path: a, refreshInterval: often}`, want: "refreshInterval"},
		{name: "a selector by expressions", spec: `{serviceAccountName: api, path: a, rollout: {selector: {matchExpressions: [{key: a, operator: Exists}, {key: b, operator: NotIn, values: [c]}]}}}`},
		{name: "an empty selector", spec: `{serviceAccountName: api, path: a, rollout: {selector: {}}}`, want: "name at least one label"},
		{name: "an unknown operator", spec: `{serviceAccountName: api, path: a, rollout: {selector: {matchExpressions: [{key: a, operator: Is}]}}}`, want: "In, NotIn, Exists or DoesNotExist"},
		{name: "In without values", spec: `{serviceAccountName: api, path: a, rollout: {selector: {matchExpressions: [{key: a, operator: In}]}}}`, want: "In and NotIn need at least one entry"},
		{name: "Exists with values", spec: `{serviceAccountName: api, path: a, rollout: {selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}}`, want: "Exists and DoesNotExist take none"},
		{name: "a target of no such kind", spec: `{serviceAccountName: api, path: a, rollout: {targets: [{kind: Job, name: a}]}}`, want: "Unsupported value"},
		{name: "a target without a name", spec: `{serviceAccountName: api, path: a, rollout: {targets: [{kind: Deployment}]}}`, want: "name"},
		{name: "a target twice", spec: `{serviceAccountName: api, path: a, rollout: {targets: [{kind: Deployment, name: a}, {kind: Deployment, name: a}]}}`, want: "Duplicate value"},
		{name: "a negative debounce", spec: `{serviceAccountName: api, path: a, rollout: {debounce: -1s}}`, want: "between 0s, for a rollout at once, and 5m"},
		{name: "a long debounce", spec: `{serviceAccountName: api, path: a, rollout: {debounce: 5m1s}}`, want: "between 0s, for a rollout at once, and 5m"},
		{name: "an immutable Secret", spec: `{serviceAccountName: api, path: a, target: {immutable: true}, rollout: {mode: None}}`},
		{name: "an immutable Secret that rolls", spec: `{serviceAccountName: api, path: a, target: {immutable: true}}`, want: "set rollout.mode to None"},
		{name: "an immutable Secret to adopt", spec: `{serviceAccountName: api, path: a, target: {immutable: true, adopt: true}, rollout: {mode: None}}`, want: "leave adopt out"},
		{name: "an immutable Secret of a long name", spec: `{serviceAccountName: api, path: a, target: {immutable: true, name: ` + strings.Repeat("a", 243) + `}, rollout: {mode: None}}`, want: "at most 242"},
		{name: "an unknown policy", spec: `{serviceAccountName: api, path: a, deletionPolicy: Keep}`, want: "Unsupported value"},
	})
}

func TestVaultPolicySpecs(t *testing.T) {
	const subjects = `subjects: {serviceAccounts: [{namespace: payments, name: "*"}]}`
	runSpecs(t, "VaultPolicy", "vaultpolicies", "", []specTest{
		{name: "a rule", spec: `{rules: [{effect: Allow, paths: [production/payments/**], capabilities: [read], ` + subjects + `}]}`},
		{name: "everything", spec: `
rules:
- effect: Deny
  paths: ["**", "*/stripe/key"]
  capabilities: [read, list, write, rotate, delete, share, audit]
  subjects: {users: [alice], groups: ["system:masters"]}
  environments: [production]
  expiresAt: "2030-01-01T00:00:00Z"`},

		{name: "one account", spec: `{rules: [{effect: Allow, paths: [a], capabilities: [read], subjects: {serviceAccounts: [{namespace: payments, name: api, uid: 0ed1}]}}]}`},
		{name: "one of many", spec: `{rules: [{effect: Allow, paths: [a], capabilities: [read], subjects: {serviceAccounts: [{namespace: "*", name: api, uid: 0ed1}]}}]}`, want: "a uid is of one account"},

		{name: "no rules", spec: `{rules: []}`, want: "spec.rules"},
		{name: "no subject", spec: `{rules: [{effect: Allow, paths: [a], capabilities: [read], subjects: {}}]}`, want: "at least one service account"},
		{name: "empty subjects", spec: `{rules: [{effect: Allow, paths: [a], capabilities: [read], subjects: {users: []}}]}`, want: "at least one service account"},
		{name: "an unknown effect", spec: `{rules: [{effect: Maybe, paths: [a], capabilities: [read], ` + subjects + `}]}`, want: "Unsupported value"},
		{name: "an unknown capability", spec: `{rules: [{effect: Allow, paths: [a], capabilities: [own], ` + subjects + `}]}`, want: "Unsupported value"},
		{name: "a star inside a segment", spec: `{rules: [{effect: Allow, paths: [a/b*], capabilities: [read], ` + subjects + `}]}`, want: "paths"},
		{name: "three stars", spec: `{rules: [{effect: Allow, paths: ["***"], capabilities: [read], ` + subjects + `}]}`, want: "paths"},
		{name: "a path upwards", spec: `{rules: [{effect: Allow, paths: [a/../**], capabilities: [read], ` + subjects + `}]}`, want: "paths"},
		{name: "a path to here", spec: `{rules: [{effect: Allow, paths: [./a], capabilities: [read], ` + subjects + `}]}`, want: "paths"},
		{name: "dots inside segments", spec: `{rules: [{effect: Allow, paths: [a..b/.c/..d/.../.._/...e.], capabilities: [read], ` + subjects + `}]}`},
		{name: "no capability", spec: `{rules: [{effect: Allow, paths: [a], capabilities: [], ` + subjects + `}]}`, want: "capabilities"},
	})
}

type specTest struct {
	name string
	spec string // YAML
	want string // in the error; accepted when empty
}

func runSpecs(t *testing.T, kind, resource, namespace string, tests []specTest) {
	t.Helper()
	client, err := dynamic.NewForConfig(cluster(t))
	if err != nil {
		t.Fatal(err)
	}
	group := schema.GroupVersion{Group: "vault.coffer.dev", Version: "v1alpha1"}
	var objects dynamic.ResourceInterface = client.Resource(group.WithResource(resource))
	if namespace != "" {
		objects = client.Resource(group.WithResource(resource)).Namespace(namespace)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var spec map[string]any
			if err := yaml.Unmarshal([]byte(test.spec), &spec); err != nil {
				t.Fatal(err)
			}
			object := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
			object.SetGroupVersionKind(group.WithKind(kind))
			object.SetName("test")
			_, err := objects.Create(t.Context(), object, metav1.CreateOptions{
				DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
			})
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && err == nil:
				t.Error("accepted")
			case test.want != "" && !strings.Contains(err.Error(), test.want):
				t.Errorf("refused with %q, want %q in it", err, test.want)
			}
		})
	}
}
