package content

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	vaultv1alpha1 "github.com/coffer-vault/coffer/api/v1alpha1"
	"github.com/coffer-vault/coffer/internal/safetemplate"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

type (
	spec   = vaultv1alpha1.VaultSecretSpec
	from   = vaultv1alpha1.VaultSecretDataFrom
	rename = vaultv1alpha1.VaultSecretRename
	entry  = vaultv1alpha1.VaultSecretData
)

func renames(pairs ...string) (list []rename) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, rename{From: pairs[i], To: pairs[i+1]})
	}
	return list
}

func asStrings(data map[string][]byte) map[string]string {
	got := map[string]string{}
	for key, v := range data {
		got[key] = string(v)
	}
	return got
}

func folder(t *testing.T) map[secret.Ref]secret.Value {
	return map[secret.Ref]secret.Value{
		ref(t, "db", 0):            value(t, `{"user":"app","password":"p"}`),
		ref(t, "db", 2):            value(t, `{"user":"old"}`),
		ref(t, "other", 0):         value(t, `{"user":"other","host":"h"}`),
		ref(t, "raw", 0):           value(t, "raw"),
		ref(t, "p/api/token", 0):   value(t, "t"),
		ref(t, "p/api/token", 7):   value(t, "pinned"),
		ref(t, "p/db", 0):          value(t, `{"user":"u","pass/word":"w"}`),
		ref(t, "p/with-dash.x", 0): value(t, "d"),
		ref(t, "p-q/x", 0):         value(t, "elsewhere"),
	}
}

func TestDataFrom(t *testing.T) {
	tests := map[string]struct {
		spec spec
		want map[string]string
	}{
		"paths in one Secret": {
			spec{DataFrom: []from{{Path: "db"}, {Path: "raw"}}},
			map[string]string{"user": "app", "password": "p", "value": "raw"},
		},
		"a pinned path": {spec{DataFrom: []from{{Path: "db", Version: 2}}}, map[string]string{"user": "old"}},
		"a prefix": {
			spec{DataFrom: []from{{Prefix: "p/"}}},
			map[string]string{"api_token": "t", "db_user": "u", "db_pass_word": "w", "with-dash.x": "d"},
		},
		"a prefix renamed in order": {
			spec{DataFrom: []from{{Prefix: "p/", Rename: renames("^api/(.*)$", "API_$1", "-|/", "_", "^API_tok", "X")}}},
			map[string]string{"Xen": "t", "db_user": "u", "db_pass_word": "w", "with_dash.x": "d"},
		},
		"all that matches is replaced, and a group may stand in braces": {
			spec{DataFrom: []from{{Path: "db", Rename: renames("(s)", "${1}S", "^", "DB.")}}},
			map[string]string{"DB.usSer": "app", "DB.pasSsSword": "p"},
		},
		"replaced": {
			spec{Path: "db", DataFrom: []from{{Path: "other", OnConflict: vaultv1alpha1.ConflictReplace}}},
			map[string]string{"user": "other", "password": "p", "host": "h"},
		},
		"kept": {
			spec{Path: "db", DataFrom: []from{{Path: "other", OnConflict: vaultv1alpha1.ConflictKeep}}},
			map[string]string{"user": "app", "password": "p", "host": "h"},
		},
		"the later of one prefix replaces": {
			spec{DataFrom: []from{{Prefix: "p/", Rename: renames(".*/.*|with.*", "k"), OnConflict: vaultv1alpha1.ConflictReplace}}},
			map[string]string{"k": "d"},
		},
		"the earlier of one prefix is kept": {
			spec{DataFrom: []from{{Prefix: "p/", Rename: renames(".*/.*|with.*", "k"), OnConflict: vaultv1alpha1.ConflictKeep}}},
			map[string]string{"k": "t"},
		},
		"data settles a conflict": {
			spec{Path: "db", DataFrom: []from{{Path: "other"}}, Data: []entry{{Key: "user", Path: "raw"}}},
			map[string]string{"user": "raw", "password": "p", "host": "h"},
		},
		"any name is good enough for a template": {
			spec{
				DataFrom: []from{{Path: "p/db"}},
				Target:   vaultv1alpha1.VaultSecretTarget{Template: map[string]string{"T": `{{ index . "pass/word" }}`}},
			},
			map[string]string{"T": "w"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			data, err := Build(&test.spec, folder(t))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, asStrings(data)); diff != "" {
				t.Errorf("data (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDataFromRefuses(t *testing.T) {
	long := strings.Repeat("a", maxRenameBytes+1)
	tests := map[string]struct {
		spec spec
		kind error
		want []string // in the message
	}{
		"a conflict":              {spec{Path: "db", DataFrom: []from{{Path: "other"}}}, ErrConflict, []string{`"user"`, "comes from db and from other", "onConflict: Replace or Keep"}},
		"a conflict said":         {spec{Path: "db", DataFrom: []from{{Path: "other", OnConflict: "Fail"}}}, ErrConflict, []string{`"user"`}},
		"a conflict in a prefix":  {spec{DataFrom: []from{{Prefix: "p/", Rename: renames(".*/.*", "k")}}}, ErrConflict, []string{`"k"`, "p/api/token and from p/db"}},
		"a conflict in one value": {spec{DataFrom: []from{{Path: "db", Rename: renames(".+", "k")}}}, ErrConflict, []string{"from db and from db"}},
		"no key":                  {spec{DataFrom: []from{{Path: "p/db"}}}, ErrInvalidSpec, []string{`"pass/word"`, "from p/db", "rename it"}},
		"an empty name":           {spec{DataFrom: []from{{Path: "raw", Rename: renames(".*", "")}}}, ErrInvalidSpec, []string{`""`, "from raw", "rename it"}},
		"a name out of a rename":  {spec{DataFrom: []from{{Path: "raw", Rename: renames("value", "a b")}}}, ErrInvalidSpec, []string{`"a b"`, "rename it"}},
		"no expression":           {spec{DataFrom: []from{{Path: "raw", Rename: renames("(", "")}}}, ErrInvalidSpec, []string{"dataFrom[0].rename[0]", "missing closing )"}},
		"a long expression":       {spec{DataFrom: []from{{Path: "raw", Rename: renames("a", "b", long, "")}}}, ErrInvalidSpec, []string{"rename[1] is too long"}},
		"a long replacement":      {spec{DataFrom: []from{{Path: "raw", Rename: renames("a", long)}}}, ErrInvalidSpec, []string{"rename[0] is too long"}},
		"a complex expression":    {spec{DataFrom: []from{{Path: "raw", Rename: renames("((a{10}){10}){10}", "")}}}, ErrInvalidSpec, []string{"too complex"}},
		"a name that grows":       {spec{DataFrom: []from{{Path: "raw", Rename: renames("|x", strings.Repeat("x", maxRenameBytes))}}}, ErrInvalidSpec, []string{"from raw has more than 1024 bytes"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Build(&test.spec, folder(t))
			if !errors.Is(err, test.kind) {
				t.Fatalf("got error %v, want %v", err, test.kind)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestKeysAreBounded(t *testing.T) {
	var properties []string
	for i := range maxKeys + 1 {
		properties = append(properties, fmt.Sprintf(`"k%d":""`, i))
	}
	values := map[secret.Ref]secret.Value{ref(t, "p/many", 0): value(t, "{"+strings.Join(properties, ",")+"}")}
	for _, s := range []spec{{Path: "p/many"}, {DataFrom: []from{{Prefix: "p/"}}}} {
		if _, err := Build(&s, values); !errors.Is(err, ErrTooLarge) {
			t.Errorf("got %v, want ErrTooLarge", err)
		}
	}
	steps := renames(slices.Repeat([]string{"no match", ""}, 16)...)
	long := map[secret.Ref]secret.Value{}
	for i := range 200 {
		long[ref(t, fmt.Sprintf("p/%d%s", i, strings.Repeat("x", 400)), 0)] = value(t, "v")
	}
	if _, err := Build(&spec{DataFrom: []from{{Prefix: "p/", Rename: steps}}}, long); !errors.Is(err, ErrInvalidSpec) || !strings.Contains(err.Error(), "over all steps") {
		t.Errorf("got %v, want that it is too much to rename", err)
	}
}

func TestPrefixes(t *testing.T) {
	s := &spec{DataFrom: []from{{Prefix: "b/"}, {Path: "b/c", Version: 3}, {Prefix: "a/b/"}, {Prefix: "b/"}}}
	prefixes, err := Prefixes(s)
	if err != nil || fmt.Sprint(prefixes) != "[b/ a/b/]" {
		t.Errorf("prefixes are %v, error %v", prefixes, err)
	}
	refs, err := Refs(s)
	if err != nil || len(refs) != 1 || refs[0] != ref(t, "b/c", 3) {
		t.Errorf("refs are %v, error %v", refs, err)
	}
	for name, entry := range map[string]from{
		"nothing": {}, "both": {Path: "a", Prefix: "b/"}, "pinned": {Prefix: "b/", Version: 1}, "no slash": {Prefix: "b"},
		"upwards": {Prefix: "../"}, "all": {Prefix: "/"},
	} {
		if _, err := Prefixes(&spec{DataFrom: []from{entry}}); !errors.Is(err, ErrInvalidSpec) {
			t.Errorf("%s: got %v, want ErrInvalidSpec", name, err)
		}
	}
}

func TestDecodings(t *testing.T) {
	for _, test := range []struct {
		decoding   vaultv1alpha1.Decoding
		text, want string
	}{
		{"", "+/+/", "+/+/"}, {"None", "+/+/", "+/+/"}, {"Base64", "+/+/", "\xfb\xff\xbf"}, {"Base64", "YQ==\n", "a"},
		{"Base64URL", "-_-_", "\xfb\xff\xbf"}, {"Base64URL", "YQ==", "a"}, {"Base64URL", "YQ", "a"}, {"Hex", "00fF", "\x00\xff"},
	} {
		got, err := decode(test.decoding, []byte(test.text))
		if err != nil || string(got) != test.want {
			t.Errorf("%s of %q: %q, %v", test.decoding, test.text, got, err)
		}
	}
	for decoding, text := range map[vaultv1alpha1.Decoding]string{"Base64": "YQ", "Base64URL": "+/+/", "Hex": "0g", "Rot13": "n"} {
		_, err := Build(&spec{Data: []entry{{Key: "K", Path: "p", Decode: decoding}}}, map[secret.Ref]secret.Value{ref(t, "p", 0): value(t, text)})
		if !errors.Is(err, ErrProperty) || !strings.Contains(err.Error(), `"K"`) || !strings.Contains(err.Error(), " p ") {
			t.Errorf("%s: error %v, want one with key and path", decoding, err)
		}
	}
}

func TestValidate(t *testing.T) {
	good := spec{
		DataFrom: []from{{Path: "a", Rename: renames("a", "b")}},
		Target: vaultv1alpha1.VaultSecretTarget{
			Labels: map[string]string{"team": "payments", "example.com/a": ""}, Annotations: map[string]string{"note": "any text, ä"},
		},
	}
	if err := Validate(&good); err != nil {
		t.Error(err)
	}
	target := func(labels, annotations map[string]string) spec {
		return spec{Target: vaultv1alpha1.VaultSecretTarget{Labels: labels, Annotations: annotations}}
	}
	for want, s := range map[string]spec{
		"dataFrom[0].rename[0]":                              {DataFrom: []from{{Path: "a", Rename: renames("[", "")}}},
		"spec.target.labels":                                 target(map[string]string{"team": "a b"}, nil),
		"spec.target.annotations":                            target(nil, map[string]string{"a b": ""}),
		"label app.kubernetes.io/managed-by is Coffer's":     target(map[string]string{vaultv1alpha1.ManagedByLabel: "me"}, nil),
		"annotation vault.coffer.dev/inputs is Coffer's":     target(nil, map[string]string{vaultv1alpha1.InputsAnnotation: ""}),
		"annotation checksum.vault.coffer.dev/x is Coffer's": target(nil, map[string]string{vaultv1alpha1.StampAnnotationPrefix + "x": ""}),
	} {
		if err := Validate(&s); !errors.Is(err, ErrInvalidSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

// What of a template is wrong whatever the data is told before anything is read.
func TestValidateTemplates(t *testing.T) {
	templates := func(texts ...string) *spec {
		s := &spec{Target: vaultv1alpha1.VaultSecretTarget{Template: map[string]string{}}}
		for i, text := range texts {
			s.Target.Template[fmt.Sprint("T", i)] = text
		}
		return s
	}
	if err := Validate(templates("{{ .any }}", "", "{{ range . }}{{ . }}{{ end }}")); err != nil {
		t.Error(err)
	}
	for want, s := range map[string]*spec{
		"unclosed action":                    templates("a", "{{ .user"),
		`key "T1"`:                           templates("a", "{{ .user"),
		`the function "call" is not allowed`: templates("{{ call .user }}"),
		"range runs over the keys only":      templates("{{ range 9 }}{{ end }}"),
		"at most 65536 are allowed":          templates(strings.Repeat("x", safetemplate.MaxBytes), "x"),
	} {
		if err := Validate(s); !errors.Is(err, ErrTemplate) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
}

// drawSpec draws a spec over the paths, and a value for each.
func drawSpec(t *rapid.T) (spec, map[secret.Ref]secret.Value) {
	paths := []string{"a", "p/a", "p/b", "p/b/c", "q/a"}
	path := rapid.SampledFrom(paths)
	word := rapid.SampledFrom([]string{"x", "y", "b/c", "value", "a"})
	values := map[secret.Ref]secret.Value{}
	for _, p := range paths {
		text := rapid.OneOf(
			rapid.Just("raw of "+p),
			rapid.Custom(func(t *rapid.T) string {
				names := rapid.SliceOfNDistinct(word, 0, 3, rapid.ID).Draw(t, "names")
				for i, name := range names {
					names[i] = fmt.Sprintf("%q:%q", name, name+" of "+p)
				}
				return "{" + strings.Join(names, ",") + "}"
			}),
		).Draw(t, "value")
		values[ref(t, p, 0)] = value(t, text)
	}
	s := spec{Path: vaultv1alpha1.VaultPath(path.Draw(t, "path"))}
	expression := rapid.SampledFrom([]string{"^", "a", "[xy]", "^(.*)/(.*)$", ".+"})
	replacement := rapid.SampledFrom([]string{"", "k", "$1", "${2}_$1", "$0$0"})
	for range rapid.IntRange(0, 4).Draw(t, "entries") {
		e := from{OnConflict: rapid.SampledFrom([]vaultv1alpha1.ConflictPolicy{"", "Fail", "Replace", "Replace", "Keep", "Keep"}).Draw(t, "onConflict")}
		if rapid.Bool().Draw(t, "is a prefix") {
			e.Prefix = rapid.SampledFrom([]vaultv1alpha1.VaultPrefix{"p/", "p/b/", "q/"}).Draw(t, "prefix")
		} else {
			e.Path = vaultv1alpha1.VaultPath(path.Draw(t, "path"))
		}
		for range rapid.IntRange(0, 2).Draw(t, "renames") {
			e.Rename = append(e.Rename, rename{From: expression.Draw(t, "from"), To: replacement.Draw(t, "to")})
		}
		s.DataFrom = append(s.DataFrom, e)
	}
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "k", "value"}), 0, 3, rapid.ID).Draw(t, "keys") {
		s.Data = append(s.Data, entry{Key: key, Path: vaultv1alpha1.VaultPath(path.Draw(t, "path"))})
	}
	return s, values
}

// The same spec and values give the same, whatever the order of the map.
func TestBuildIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, values := drawSpec(t)
		first, firstErr := Build(&s, values)
		for range 5 {
			again, err := Build(&s, maps.Clone(values))
			if fmt.Sprint(firstErr) != fmt.Sprint(err) {
				t.Fatalf("errors %v and %v", firstErr, err)
			}
			if diff := cmp.Diff(asStrings(first), asStrings(again)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

// Whatever comes from path and dataFrom, what data sets is what data says, and an
// entry that is not to fail changes nothing else of what was there (Keep).
func TestDataWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, values := drawSpec(t)
		data, err := Build(&s, values)
		if err != nil {
			return
		}
		for _, e := range s.Data {
			if want := values[ref(t, string(e.Path), 0)].Bytes(); string(data[e.Key]) != string(want) {
				t.Fatalf("key %s is %q, want %q", e.Key, data[e.Key], want)
			}
		}
		kept := s
		kept.DataFrom = append(slices.Clone(s.DataFrom), from{Prefix: "p/", OnConflict: vaultv1alpha1.ConflictKeep})
		more, err := Build(&kept, values)
		if err != nil {
			t.Fatal(err)
		}
		for key := range data {
			if string(more[key]) != string(data[key]) {
				t.Fatalf("key %s changed from %q to %q by an entry that keeps", key, data[key], more[key])
			}
		}
	})
}

// Whatever the expression, a rename ends, its outcome is bounded, and the error
// holds no value.
func FuzzRename(f *testing.F) {
	for _, seed := range [][2]string{
		{"^api/(.*)$", "API_$1"}, {"(a*)*b", "x"}, {"((a{10}){10}){10}", ""}, {"", "$0$0$0"}, {"(?i)[[:word:]]+", "${1"}, {`\pL{100}`, "$$"},
		{"(", ""}, {"x{1001}", ""}, {"(?P<n>.)", "${n}$n"}, {"^|$|.", strings.Repeat("$0", 100)}, {"(.*)(.*)(.*)(.*)", "$4$3$2$1"},
	} {
		f.Add(seed[0], seed[1], "api/"+strings.Repeat("a", 100))
	}
	const canary = "c4nary-s3cret"
	f.Fuzz(func(t *testing.T, expression, replacement, property string) {
		property = strings.ToValidUTF8(property, "")
		s := spec{DataFrom: []from{{Path: "p", Rename: renames(expression, replacement, expression, replacement)}}}
		values := map[secret.Ref]secret.Value{ref(t, "p", 0): value(t, fmt.Sprintf(`{%q:%q}`, "api", canary))}
		data, err := Build(&s, values)
		if err != nil && !strings.Contains(expression+replacement, canary) && strings.Contains(err.Error(), canary) {
			t.Fatalf("the error holds the value: %v", err)
		}
		if err == nil && len(data) != 1 {
			t.Fatalf("one property gave %d keys", len(data))
		}
		spent := 0
		r, err := newRenamer(renames(expression, replacement), &spent)
		if err != nil {
			return
		}
		if name, err := r.apply(property); err == nil && len(name) > maxNameBytes {
			t.Fatalf("a name has %d bytes", len(name))
		}
	})
}
