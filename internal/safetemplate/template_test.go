package safetemplate

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func renderOne(t *testing.T, text string, data map[string]string) (string, error) {
	t.Helper()
	raw := map[string][]byte{}
	for key, value := range data {
		raw[key] = []byte(value)
	}
	out, err := Render(map[string]string{"OUT": text}, raw)
	return string(out["OUT"]), err
}

func TestRender(t *testing.T) {
	data := map[string]string{"user": "app", "password": `p"ä/ ß`, "enc": "aGVsbG8=", "with-dash": "dash", "empty": ""}
	tests := map[string]struct{ text, want string }{
		"plain text":      {"no actions", "no actions"},
		"empty":           {"", ""},
		"fields":          {"postgres://{{ .user }}:{{ .password | urlquery }}@db/payments", "postgres://app:p%22%C3%A4%2F+%C3%9F@db/payments"},
		"urlpath":         {"{{ urlpath .password }}", "p%22%C3%A4%2F%20%C3%9F"},
		"b64enc":          {"{{ b64enc .user }}", "YXBw"},
		"b64dec":          {"{{ b64dec .enc }}", "hello"},
		"quote":           {"{{ quote .password }}", `"p\"ä/ ß"`},
		"squote":          {"{{ squote .user }}", "'app'"},
		"toJson":          {"{{ toJson .password }}", `"p\"ä/ ß"`},
		"case":            {"{{ .user | upper }}{{ upper .user | lower }}", "APPapp"},
		"trim":            {"{{ trim \" a \" }}", "a"},
		"index":           {`{{ index . "with-dash" }}`, "dash"},
		"if and eq":       {`{{ if and (eq .user "app") (ne .enc "x") (hasKey . "enc") (not .empty) }}yes{{ else }}no{{ end }}`, "yes"},
		"default":         {`{{ .empty | default "none" }}{{ default "x" .user }}`, "noneapp"},
		"with":            {"{{ with .user }}{{ . }}{{ end }}", "app"},
		"range is sorted": {"{{ range $k, $v := . }}{{ $k }};{{ end }}", "empty;enc;password;user;with-dash;"},
		"print":           {"{{ print .user \"-\" .enc }}", "app-aGVsbG8="},
		"len":             {"{{ len .user }}", "3"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := renderOne(t, test.text, data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("rendered (-want +got):\n%s", diff)
			}
		})
	}
}

// What a template could do harm with is refused before it runs, or stopped early.
func TestRenderRefuses(t *testing.T) {
	const canary = "c4nary-s3cret"
	large := strings.Repeat("x", 1<<20)
	data := map[string]string{"user": canary, "large": large}
	tests := map[string]struct{ text, want string }{
		"missing field":           {"{{ .nope }}", `it names a key that is not there: "nope"`},
		"missing index":           {`{{ index . .user }}`, "it names a key that is not there"},
		"syntax":                  {"{{ .user", "unclosed action"},
		"unknown function":        {"{{ env \"HOME\" }}", "env"},
		"call":                    {"{{ call .user }}", `the function "call" is not allowed`},
		"printf":                  {`{{ printf "%1000000s" .user }}`, `the function "printf" is not allowed`},
		"html":                    {"{{ html .user }}", `the function "html" is not allowed`},
		"slice":                   {"{{ slice .user 1 }}", `the function "slice" is not allowed`},
		"function in parentheses": {"{{ if (and true (js .user)) }}{{ end }}", `the function "js" is not allowed`},
		"function in a chain":     {"{{ (printf .user).x }}", `the function "printf" is not allowed`},
		"define":                  {`{{ define "x" }}{{ end }}`, "define and block are not allowed"},
		"recursion":               {`{{ template "OUT" . }}`, "is not allowed in a template"},
		"range over a number":     {"{{ range 1000000000 }}{{ end }}", "range runs over the keys only"},
		"range over with":         {"{{ with 1000000000 }}{{ range . }}{{ end }}{{ end }}", "a range inside range or with"},
		"range over set $":        {"{{ $ = 1000000000 }}{{ range $ }}{{ end }}", "the variable $ cannot be set"},
		"range in range":          {"{{ range . }}{{ range $ }}{{ end }}{{ end }}", "a range inside range or with"},
		"doubling":                {"{{ $x := .large }}" + strings.Repeat("{{ $x = print $x $x }}", 40), "it makes more than"},
		"quoting quotes":          {"{{ .large" + strings.Repeat(" | b64enc", 60) + " }}", "it makes more than"},
		"much output":             {strings.Repeat("{{ .large }}", 40), "it makes more than"},
		"comparing for long":      {strings.Repeat("{{ if eq .large .large }}{{ end }}", 40), "it makes more than"},
		"too much text":           {strings.Repeat("x", MaxBytes+1), "at most"},
		"not base64":              {"{{ b64dec .user }}", "not standard base64"},
		"wrong type":              {"{{ upper 3 }}", "does not take what it is given"},
		"wrong type of a value":   {"{{ upper (len .user) }}", "does not take what it is given"},
		"field of a value":        {"{{ .user.name }}", "does not take what it is given"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := renderOne(t, test.text, data)
			if !errors.Is(err, ErrTemplate) {
				t.Fatalf("got error %v, want one that wraps ErrTemplate", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not contain %q", err, test.want)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("error %q holds the value", err)
			}
		})
	}
}

func TestRangeIsBoundedByKeys(t *testing.T) {
	data := map[string][]byte{}
	for i := range MaxRangeKeys + 1 {
		data["k"+strings.Repeat("x", i)] = nil
	}
	if _, err := Render(map[string]string{"OUT": "{{ range . }}{{ end }}"}, data); !errors.Is(err, ErrTemplate) {
		t.Fatalf("got %v, want ErrTemplate", err)
	}
}

// Whatever the template, an error never quotes a value, and a render ends.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		"{{ .user }}", "{{ range . }}{{ . }}{{ end }}", `{{ index . "user" | b64dec }}`, "{{ with .user }}{{ upper . }}{{ end }}",
		"{{ eq .user 1 }}", "{{ $x := . }}{{ $x.user.y }}", "{{ toJson . }}", "{{ len 3 }}", "{{ .user | print 1 }}",
	} {
		f.Add(seed)
	}
	const canary = "c4nary-s3cret"
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Render(map[string]string{"OUT": text}, map[string][]byte{"user": []byte(canary)})
		if err != nil && !strings.Contains(text, canary) && strings.Contains(err.Error(), canary) {
			t.Fatalf("the error holds the value: %v", err)
		}
	})
}

func TestTextIsUnchangedWithoutActions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.ReplaceAll(rapid.String().Draw(t, "text"), "{{", "")
		out, err := Render(map[string]string{"OUT": text}, map[string][]byte{"a": []byte("b")})
		if err != nil {
			t.Fatal(err)
		}
		if string(out["OUT"]) != text {
			t.Fatalf("got %q, want %q", out["OUT"], text)
		}
	})
}
