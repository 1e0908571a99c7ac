package source

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// canary is in every value of these tests, and in no error.
const canary = "hunter2!"

func values(s Source) map[string]string {
	found := map[string]string{}
	for _, e := range s.Entries {
		found[e.Key] = string(e.Value)
	}
	return found
}

func TestParseFiles(t *testing.T) {
	tests := map[string]struct {
		file       string
		content    string
		references References
		want       map[string]string
		skipped    []string
	}{
		"env": {
			file:    ".env",
			content: "# the app\nexport USER=app\nPASSWORD='a b#c' # old\nEMPTY=\nPEM=\"-----BEGIN\nx y\n-----END\"\nESCAPED=\"a\\nb\"\nhash=a#b #c #d\n",
			want:    map[string]string{"USER": "app", "PASSWORD": "a b#c", "EMPTY": "", "PEM": "-----BEGIN\nx y\n-----END", "ESCAPED": "a\nb", "hash": "a#b"},
		},
		"env with a mark of its encoding and line ends of Windows": {file: "a.env", content: "\xef\xbb\xbfA=b\r\nB='c'\r\n", want: map[string]string{"A": "b", "B": "c"}},
		"env with a $ that all take as it is":                      {file: ".env", content: "A='pa$word$$'\nB=5$\n", want: map[string]string{"A": "pa$word$$", "B": "5$"}},
		"env with references kept":                                 {file: ".env", content: "A=pa$word\nB=\"${A}$$\"\n", references: ReferencesKeep, want: map[string]string{"A": "pa$word", "B": "${A}$$"}},
		"env with references expanded":                             {file: ".env.local", content: "B=\"${A}$$\"\nA=x\nC='$A'\nD=${E:+y}z\nE=$F\nF=\n", references: ReferencesExpand, want: map[string]string{"A": "x", "B": "x$", "C": "$A", "D": "z", "E": "", "F": ""}},
		"json": {
			file:    "a.json",
			content: `{"user":"app","port":5432,"big":123456789012345678901,"on":true,"db":{"password":"a\nb","hosts":["x",{"y":1.10}]},"none":null,"empty":{}}`,
			want:    map[string]string{"user": "app", "port": "5432", "big": "123456789012345678901", "on": "true", "db.password": "a\nb", "db.hosts.0": "x", "db.hosts.1.y": "1.10"},
			skipped: []string{"none of a.json is null"},
		},
		"yaml keeps the text of what looks like another type": {
			file:    "a.yml",
			content: "pin: 0123\nratio: 1.10\nanswer: yes\nday: 2026-01-31\nquoted: \"a\\tb\"\nnone:\nnull-text: \"null\"\nblob: !!binary AAH/\nbase: &b {x: 1}\nagain: *b\nlist: [p, q]\npem: |\n  -----BEGIN\n  -----END\n",
			want: map[string]string{
				"pin": "0123", "ratio": "1.10", "answer": "yes", "day": "2026-01-31", "quoted": "a\tb", "null-text": "null", "blob": "\x00\x01\xff",
				"base.x": "1", "again.x": "1", "list.0": "p", "list.1": "q", "pem": "-----BEGIN\n-----END\n",
			},
			skipped: []string{"none of a.yml is null"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(test.file, FormatOf(test.file), []byte(test.content), test.references)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Sources) != 1 || got.Sources[0].String() != test.file {
				t.Fatalf("sources %v", got.Sources)
			}
			if diff := cmp.Diff(test.want, values(got.Sources[0])); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.skipped, got.Skipped); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseManifests(t *testing.T) {
	const content = `
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: payments, ownerReferences: [{apiVersion: v1, kind: Certificate, name: web, uid: "1", controller: true}]}
type: kubernetes.io/basic-auth
immutable: true
data: {password: aHVudGVyMiE=, blob: AAH/}
stringData: {username: app}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
# nothing
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {unknown: 1}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: app}, data: {URL: "https://x"}, binaryData: {b: AQ==}}
- {apiVersion: v1, kind: Secret, metadata: {name: token}, type: kubernetes.io/service-account-token}
- {apiVersion: v1, kind: Secret, metadata: {name: release}, type: helm.sh/release.v1}
- {apiVersion: v1, kind: Secret, metadata: {name: synced, labels: {app.kubernetes.io/managed-by: coffer}}}
`
	got, err := Parse("all.yaml", FormatYAML, []byte(content), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Sources) != 2 {
		t.Fatalf("sources %v", got.Sources)
	}
	secret, configMap := got.Sources[0], got.Sources[1]
	if secret.String() != "Secret payments/db" || secret.Type != "kubernetes.io/basic-auth" || !secret.Immutable || secret.Controller != "Certificate web" {
		t.Errorf("%s type %s immutable %t controller %s", secret, secret.Type, secret.Immutable, secret.Controller)
	}
	if diff := cmp.Diff(map[string]string{"password": canary, "blob": "\x00\x01\xff", "username": "app"}, values(secret)); diff != "" {
		t.Error(diff)
	}
	if configMap.String() != "ConfigMap app" {
		t.Error(configMap)
	}
	if diff := cmp.Diff(map[string]string{"URL": "https://x", "b": "\x01"}, values(configMap)); diff != "" {
		t.Error(diff)
	}
	want := []string{
		"Secret token is a token by which Kubernetes grants an identity", "Secret release is Helm's own record of a release",
		"Secret synced is written by Coffer already",
	}
	if diff := cmp.Diff(want, got.Skipped); diff != "" {
		t.Error(diff)
	}
	asJSON, err := Parse("db.json", FormatJSON, []byte(`{"apiVersion":"v1","kind":"SecretList","items":[{"metadata":{"name":"db"},"data":{"a":"eA=="}}]}`), "")
	if err != nil || len(asJSON.Sources) != 1 || values(asJSON.Sources[0])["a"] != "x" {
		t.Errorf("%v, %v", asJSON.Sources, err)
	}
}

// The errors name the place and what to do, and never what is there.
func TestParseErrors(t *testing.T) {
	secret := func(rest string) string { return "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\n" + rest }
	tests := map[string]struct{ file, content, want string }{
		"unknown name":              {"secrets.txt", "A=" + canary, "give --format env, json, yaml"},
		"not text":                  {".env", "A=\xff\xfe" + canary, "is not UTF-8 text"},
		"env: bad name":             {".env", "A=1\nB" + canary + "=2", ".env, line 2: this is not a .env file"},
		"env: no end of quotes":     {".env", "A=1\nB='" + canary, ".env, line 2: this is not"},
		"env: a line without =":     {".env", "A=-----BEGIN\nhunter2\n", ".env, line 2: this is not"},
		"env: text behind quotes":   {".env", "A=\"x\" hunter2\n", ".env: this is not"},
		"env: no name":              {".env", "=" + canary, ".env: this is not a .env file"},
		"env: $":                    {".env", "A=x\nP=pa$hunter2\nQ=\"a\\$b\"", ".env: P, Q has a $ outside single quotes"},
		"env: $ in a name":          {".env", "A$=" + canary, "this is not a .env file"},
		"env: required":             {".env", "P=${A:?" + canary + "}", "P has a $ outside"},
		"json: syntax":              {"a.json", "{\n\"a\": \"" + canary + "\",\n}", "a.json, line 3: this is not a well-formed JSON object"},
		"json: no object":           {"a.json", `["` + canary + `"]`, "is not an object of names and values"},
		"json: twice":               {"a.json", `{"a":"` + canary + `","a":"x"}`, "a.json has the key a twice"},
		"json: no name":             {"a.json", `{"":"` + canary + `"}`, "a value without a name"},
		"json: deep":                {"a.json", strings.Repeat(`{"a":`, 40) + `"` + canary + `"` + strings.Repeat("}", 40), "nested too deeply"},
		"yaml: syntax":              {"a.yaml", "a: 1\nb: 'x' " + canary, "this is not well-formed YAML"},
		"yaml: tab":                 {"a.yaml", "a:\n\t" + canary, "this is not well-formed YAML"},
		"yaml: text":                {"a.yaml", canary, "is not a map of names and values"},
		"yaml: env":                 {"a.yaml", "A=" + canary, "--format env"},
		"yaml: empty":               {"a.yaml", "# " + canary, "is empty"},
		"yaml: twice":               {"a.yaml", "a: 1\na: " + canary, "has the key a twice"},
		"yaml: several":             {"a.yaml", "a: 1\n---\nb: " + canary, "has 2 documents"},
		"yaml: merge":               {"a.yaml", "x: &x {a: 1}\ny:\n  <<: *x\n", "a.yaml, line 3: merge keys"},
		"yaml: binary":              {"a.yaml", "a: !!binary " + canary, "line 1: a is marked as !!binary"},
		"yaml: name that is a list": {"a.yaml", "? [" + canary + "]\n: x", "a name is not plain text"},
		"yaml: itself":              {"a.yaml", "a: &a\n  b: *a\n", "nested too deeply"},
		"yaml: aliases": {
			"a.yaml", "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n" +
				"e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
			"too much in it",
		},
		"manifest: not base64":       {"a.yaml", secret("data: {a: " + canary + "}"), "text goes under stringData"},
		"manifest: wrong type":       {"a.yaml", secret("stringData: {a: [" + canary + "]}"), "not a Secret or ConfigMap as Kubernetes takes them"},
		"manifest: unknown field":    {"a.yaml", secret("stringDta: {a: " + canary + "}"), "not a Secret or ConfigMap as Kubernetes takes them"},
		"manifest: field twice":      {"a.yaml", secret("stringData: {a: x, a: " + canary + "}"), "not a Secret or ConfigMap as Kubernetes takes them"},
		"manifest: no name":          {"a.yaml", "apiVersion: v1\nkind: Secret\nstringData: {a: " + canary + "}", "a Secret has no name"},
		"manifest: ConfigMap":        {"a.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {a: " + canary + "}", "a ConfigMap has no name"},
		"manifest: other kinds only": {"a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: " + canary + "}", "has no Secret and no ConfigMap"},
		"manifest: mixed":            {"a.yaml", secret("") + "---\na: " + canary, "has manifests and other documents"},
		"manifest: nested list": {
			"a.json", `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"List","items":[]}]}`, "a List in a List",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			parsed, err := Parse(test.file, FormatOf(test.file), []byte(test.content), "")
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), test.file) && test.want != "give --format env, json, yaml" {
				t.Errorf("%v: error %v, want %q", parsed.Sources, err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats what was read: %v", err)
			}
		})
	}
}

func TestExpandRefuses(t *testing.T) {
	doubled := "A=" + strings.Repeat("x", 1024) + "\n"
	for i := range 26 {
		doubled += fmt.Sprintf("%c=$%c$%c\n", 'B'+i, 'A'+i, 'A'+i)
	}
	for name, content := range map[string]string{"not set": "A=$" + "hunter2", "required": "A=${B:?hunter2}", "not closed": "A=${hunter2", "itself": "A=$A", "doubled": doubled} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(".env", FormatEnv, []byte(content), ReferencesExpand)
			if !errors.Is(err, errReferences) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestTooManyKeys(t *testing.T) {
	var content strings.Builder
	for i := range MaxKeys + 1 {
		fmt.Fprintf(&content, "K%d=x\n", i)
	}
	if _, err := Parse(".env", FormatEnv, []byte(content.String()), ""); err == nil || !strings.Contains(err.Error(), "more than 2048 keys") {
		t.Errorf("error %v", err)
	}
}

func TestSelect(t *testing.T) {
	sources := []Source{
		{Kind: KindFile, Name: ".env", Entries: []Entry{{"DB_PASSWORD", nil}, {"DB_USER", nil}}},
		{Kind: KindConfigMap, Name: "app", Entries: []Entry{{"COLOUR", nil}}},
	}
	got, err := Select(sources, []string{"*_PASSWORD", "DB_*"})
	if err != nil || len(got) != 1 || len(got[0].Entries) != 2 || len(got[0].Left) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	got, err = Select(sources, []string{"DB_PASSWORD", "COLOUR"})
	if err != nil || len(got) != 2 || cmp.Diff([]string{"DB_USER"}, got[0].Left) != "" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err = Select(sources, []string{"DB_*", "TOKEN"}); err == nil || err.Error() != "no key is TOKEN; there are COLOUR, DB_PASSWORD, DB_USER" {
		t.Errorf("error %v", err)
	}
	if _, err = Select(sources, []string{"[x"}); err == nil || !strings.Contains(err.Error(), "is not a pattern") {
		t.Errorf("error %v", err)
	}
}

func TestNothingPrintsAValue(t *testing.T) {
	s := Source{Kind: KindSecret, Namespace: "a", Name: "b", Entries: []Entry{{"K", []byte(canary)}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb+verb, s, s.Entries); strings.Contains(got, "hunter2") || strings.Contains(got, "68756e") || strings.Contains(got, "104 117") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}
