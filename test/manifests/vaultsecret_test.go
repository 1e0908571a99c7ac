package manifests

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// What the API server says to a VaultSecret before anything else sees it.
func TestVaultSecretSources(t *testing.T) {
	const from = `{serviceAccountName: api, dataFrom: [`
	runSpecs(t, "VaultSecret", "vaultsecrets", "default", []specTest{
		{name: "only a prefix", spec: from + `{prefix: production/payments/}]}`},
		{name: "only a path", spec: from + `{path: a/b, version: 3}]}`},
		{name: "all of it", spec: `
serviceAccountName: api
path: a/b
dataFrom:
- path: a/c
  onConflict: Replace
- prefix: a/
  rename: [{from: ^api/(.*)$, to: API_$1}, {from: "[/-]", to: _}, {from: \d+$}]
  onConflict: Keep
- {prefix: ..a/.b/, onConflict: Fail}
data:
- {key: a, decode: Base64URL}
- {key: b, path: c, decode: Hex}
target: {adopt: true, labels: {example.com/team: payments}, annotations: {note: "any text, ä"}, template: {a.b_C-1: x}}`},
		{name: "a prefix of 15 segments", spec: from + `{prefix: ` + strings.Repeat("a/", 15) + `}]}`},

		{name: "neither path nor prefix", spec: from + `{}]}`, want: "either path or prefix: set exactly one"},
		{name: "path and prefix", spec: from + `{path: a, prefix: b/}]}`, want: "either path or prefix: set exactly one"},
		{name: "a pinned prefix", spec: from + `{prefix: b/, version: 2}]}`, want: "version pins one path"},
		{name: "a prefix without its slash", spec: from + `{prefix: production/payments}]}`, want: "a prefix ends in '/'"},
		{name: "a prefix upwards", spec: from + `{prefix: a/../}]}`, want: "no empty, '.' or '..' segment"},
		{name: "a prefix to here", spec: from + `{prefix: ./}]}`, want: "no empty, '.' or '..' segment"},
		{name: "a prefix with an empty segment", spec: from + `{prefix: a//}]}`, want: "no empty, '.' or '..' segment"},
		{name: "the whole vault", spec: from + `{prefix: /}]}`, want: "prefix"},
		{name: "an empty prefix", spec: from + `{prefix: ""}]}`, want: "prefix"},
		{name: "an upper-case prefix", spec: from + `{prefix: A/}]}`, want: "a prefix has 1 to 15 segments"},
		{name: "a prefix of 16 segments", spec: from + `{prefix: ` + strings.Repeat("a/", 16) + `}]}`, want: "a prefix has 1 to 15 segments"},
		{name: "a glob in a prefix", spec: from + `{prefix: a/*/}]}`, want: "a prefix has 1 to 15 segments"},
		{name: "an upward path", spec: from + `{path: a/../b}]}`, want: "no '.' or '..' segment"},
		{name: "an unknown conflict policy", spec: from + `{path: a, onConflict: Merge}]}`, want: "Unsupported value"},
		{name: "no regular expression", spec: from + `{path: a, rename: [{from: "(", to: b}]}]}`, want: "missing closing ): `(` evaluating rule: from is not a regular expression in RE2 syntax"},
		{name: "an empty regular expression", spec: from + `{path: a, rename: [{from: "", to: b}]}]}`, want: "rename[0].from"},
		{name: "a long regular expression", spec: from + `{path: a, rename: [{from: ` + strings.Repeat("a", 257) + `}]}]}`, want: "may not be more than 256"},
		{name: "an empty dataFrom", spec: from + `]}`, want: "name what to sync"},
		{name: "65 entries", spec: from + strings.Repeat("{path: a}, ", 65) + `]}`, want: "must have at most 64 items"},
		{name: "17 renames", spec: from + `{path: a, rename: [` + strings.Repeat("{from: a}, ", 17) + `]}]}`, want: "must have at most 16 items"},
		{name: "an entry of data without any path", spec: `{serviceAccountName: api, data: [{key: a, path: b}, {key: c}]}`, want: "set spec.path"},
		{name: "an unknown decoding", spec: `{serviceAccountName: api, path: a, data: [{key: a, decode: Rot13}]}`, want: "Unsupported value"},
	})
}

func TestVaultSecretTargets(t *testing.T) {
	target := func(s string) string { return `{serviceAccountName: api, path: a, target: ` + s + `}` }
	runSpecs(t, "VaultSecret", "vaultsecrets", "default", []specTest{
		{name: "a type of somebody's own", spec: target(`{type: example.com/anything}`)},
		{name: "Coffer's label", spec: target(`{labels: {app.kubernetes.io/managed-by: me}}`), want: "Coffer's own"},
		{name: "a label of Coffer's names", spec: target(`{labels: {vault.coffer.dev/x: a}}`), want: "Coffer's own; choose another label"},
		{name: "Coffer's annotation", spec: target(`{annotations: {vault.coffer.dev/checksum: a}}`), want: "Coffer's own; choose another annotation"},
		{name: "consent that the spec gives itself", spec: target(`{annotations: {vault.coffer.dev/adopt-by: test}}`), want: "Coffer's own"},
		{name: "Coffer's stamp", spec: target(`{annotations: {checksum.vault.coffer.dev/x: a}}`), want: "Coffer's own"},
		{name: "a label that is none", spec: target(`{labels: {"a b": c}}`), want: "a label's name is like team or example.com/team"},
		{name: "a label with a long name", spec: target(`{labels: {` + strings.Repeat("a", 64) + `: c}}`), want: "a label's name is like"},
		{name: "an annotation that is none", spec: target(`{annotations: {a/b/c: d}}`), want: "an annotation's name is like"},
		{name: "a rendered key that is none", spec: target(`{template: {"a b": x}}`), want: "a rendered key has 1 to 253 characters"},
	})
}

// sentence is a description as kubectl explain shows it.
var sentence = regexp.MustCompile(`(?s)^[A-Z].*\.$`)

// kubectl explain says something about every field.
func TestEveryFieldIsDescribed(t *testing.T) {
	text, err := os.ReadFile(root + "/config/crd/bases/vault.coffer.dev_vaultsecrets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema explained `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		t.Fatal(err)
	}
	fields := 0
	var walk func(path string, s *explained)
	walk = func(path string, s *explained) {
		for name, field := range s.Properties {
			if path == ".status" && name == "conditions" || path == "" && (name == "metadata" || name == "kind" || name == "apiVersion") {
				continue // described by Kubernetes
			}
			fields++
			if !sentence.MatchString(field.Description) {
				t.Errorf("%s.%s is described as %q, want sentences", path, name, field.Description)
			}
			if path == ".spec.rollout" && name == "selector" {
				continue // what is in it is described by Kubernetes
			}
			walk(path+"."+name, &field)
		}
		if s.Items != nil {
			walk(path+"[]", s.Items)
		}
	}
	walk("", &crd.Spec.Versions[0].Schema.OpenAPIV3Schema)
	if fields < 40 {
		t.Errorf("only %d fields were looked at", fields)
	}
}

// explained is the part of an OpenAPI schema that kubectl explain shows.
type explained struct {
	Description string               `json:"description"`
	Properties  map[string]explained `json:"properties"`
	Items       *explained           `json:"items"`
}
