package source

import (
	"strings"
	"testing"
)

// FuzzParse has hostile files: nothing panics, what comes out is within its bounds, and no
// error has the value that is put into the middle. Of YAML and JSON, where a name can be any
// text, errors that name keys are left out.
func FuzzParse(f *testing.F) {
	for format, seeds := range map[string][][2]string{
		"env": {
			{"A=", "\n"}, {"A='", ""}, {"A=\"", "\\\"\nB=${A:-$C}\""}, {"export A = ", " # x"}, {"A=1\n", "\n"}, {"", "=x"}, {"A=${B:?", "}"}, {"A\n=$$", "\r\n"},
			{"\uE000A=$", "\uE000"}, {"A=\"\\0", "\\x\""},
		},
		"json": {{`{"a":"`, `"}`}, {`{"a":{"b":[1,"`, `",null]}}`}, {`{"apiVersion":"v1","kind":"Secret","data":{"a":"`, `"}}`}, {`{"a":1e999,"b":"`, ""}},
		"yaml": {
			{"a: ", "\n"}, {"a: &a [", ", *a]"}, {"a: !!binary ", ""}, {"? {b: ", "}\n: c"}, {"a: |\n  ", "\n"}, {"apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {a: ", "}"},
			{"apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: x}\n  data: {a: ", "}"}, {"a: 1\n---\n", ""}, {"<<: &x {a: ", "}"},
		},
	} {
		for _, seed := range seeds {
			f.Add(format, seed[0], seed[1])
		}
	}
	f.Fuzz(func(t *testing.T, format, before, after string) {
		for _, references := range []References{ReferencesRefuse, ReferencesKeep, ReferencesExpand} {
			parsed, err := Parse("file", Format(format), []byte(before+canary+after), references)
			if err != nil {
				named := format != string(FormatEnv) && (strings.Contains(err.Error(), "twice") || strings.Contains(err.Error(), "!!binary"))
				if strings.Contains(err.Error(), canary) && !named {
					t.Errorf("the error repeats what was read: %v", err)
				}
				continue
			}
			for _, s := range parsed.Sources {
				if len(s.Entries) > MaxKeys {
					t.Errorf("%d keys", len(s.Entries))
				}
				for i, e := range s.Entries {
					if e.Key == "" || i > 0 && s.Entries[i-1].Key >= e.Key {
						t.Errorf("the keys are not sorted, or one is empty: %q", s.Keys())
					}
				}
			}
		}
	})
}
