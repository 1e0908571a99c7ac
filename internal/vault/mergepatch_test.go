package vault

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// TestMergePatch has the examples of RFC 7396, appendix A, that are about objects, and
// what the RFC does not say.
func TestMergePatch(t *testing.T) {
	for name, test := range map[string]struct{ value, patch, want string }{
		"set":                        {`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		"add":                        {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		"remove":                     {`{"a":"b"}`, `{"a":null}`, `{}`},
		"keep others":                {`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		"array":                      {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		"array for text":             {`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		"nested":                     {`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		"nested in array":            {`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		"null stays":                 {`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		"nulls do not nest":          {`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		"nulls in arrays stay":       {`{}`, `{"a":[{"b":null},null]}`, `{"a":[{"b":null},null]}`},
		"numbers keep digits":        {`{"n":12345678901234567890.10}`, `{"m":1e400}`, `{"m":1e400,"n":12345678901234567890.10}`},
		"markup is not escaped":      {`{"a":"<&>"}`, `{"b":"<"}`, `{"a":"<&>","b":"<"}`},
		"removing what is not there": {`{"a":"b"}`, `{"c":null}`, `{"a":"b"}`},
		"half a pair in a value":     {`{"a":"\ud800"}`, `{"b":"c"}`, `{"a":"\ud800","b":"c"}`},
		"space":                      {" {\n\"a\" : 1}\n", ` {"b":2} `, `{"a":1,"b":2}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mergePatch([]byte(test.value), []byte(test.patch))
			if err != nil || string(got) != test.want {
				t.Errorf("got %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

// TestPatchesHaveADepth, up to which they are taken; text that looks like brackets has none.
func TestPatchesHaveADepth(t *testing.T) {
	nested := func(depth int) []byte {
		return []byte(`{"a":` + strings.Repeat(`[`, depth-1) + `1` + strings.Repeat(`]`, depth-1) + `}`)
	}
	objects := []byte(strings.Repeat(`{"a":`, 17) + `1` + strings.Repeat(`}`, 17))
	for name, test := range map[string]struct {
		patch []byte
		want  error
	}{
		"as deep as may be":  {nested(16), nil},
		"deeper":             {nested(17), errTooDeep},
		"of objects":         {objects, errTooDeep},
		"beside each other":  {[]byte(`{"a":[` + strings.Repeat(`{},`, 100) + `{}]}`), nil},
		"in text":            {[]byte(`{"a":"\"` + strings.Repeat(`[{`, 100) + `"}`), nil},
		"behind a backslash": {[]byte(`{"a\\":` + strings.Repeat(`[`, 17) + strings.Repeat(`]`, 17) + `}`), errTooDeep},
	} {
		t.Run(name, func(t *testing.T) {
			if err := checkPatch(test.patch); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestNoMergePatch(t *testing.T) {
	for name, test := range map[string]struct {
		value, patch string
		want         error
	}{
		"raw value":             {`canary`, `{"a":"b"}`, errNoObject},
		"empty value":           {``, `{"a":"b"}`, errNoObject},
		"array":                 {`["canary"]`, `{"a":"b"}`, errNoObject},
		"null":                  {`null`, `{"a":"b"}`, errNoObject},
		"cut off":               {`{"canary":`, `{"a":"b"}`, errNoObject},
		"two":                   {`{"canary":1}{}`, `{"a":"b"}`, errNoObject},
		"no UTF-8":              {"{\"canary\":\"\xff\"}", `{"a":"b"}`, errNoObject},
		"half a pair":           {`{"\ud800canary":1}`, `{"a":"b"}`, errNoObject},
		"half a pair, nested":   {`{"a":{"\ud800canary":1}}`, `{"a":{"b":1}}`, errNoObject},
		"text for a patch":      {`{}`, `"canary"`, errNoPatch},
		"array for a patch":     {`{}`, `[{"canary":1}]`, errNoPatch},
		"patch that is no JSON": {`{}`, `{canary}`, errNoPatch},
		"patch, half a pair":    {`{}`, `{"a":{"\ud800canary":1}}`, errNoPatch},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mergePatch([]byte(test.value), []byte(test.patch))
			if !errors.Is(err, test.want) || !errors.Is(err, secret.ErrInvalid) || got != nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

// FuzzMergePatch: what comes out is an object that has what the patch sets and not what
// it removes, and the same patch again changes nothing.
func FuzzMergePatch(f *testing.F) {
	for _, s := range [][2]string{
		{`{"a":"b"}`, `{"a":null,"c":{"d":null}}`}, {`{"a":{"b":[1]}}`, `{"a":{"b":{"c":1}}}`}, {``, `{}`}, {`{"a":1,"a":2}`, `{"A":3}`}, {"{\"\xff\":1}", `{"\ud800":1}`},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, value, patch string) {
		got, err := mergePatch([]byte(value), []byte(patch))
		if err != nil {
			return
		}
		again, err := mergePatch(got, []byte(patch))
		if err != nil || string(again) != string(got) {
			t.Errorf("again: %s, %v; first %s", again, err, got)
		}
		var result, before, changes map[string]any
		for into, text := range map[*map[string]any]string{&result: string(got), &before: value, &changes: patch} {
			if err := json.Unmarshal([]byte(text), into); err != nil && !strings.Contains(err.Error(), "cannot unmarshal number") {
				t.Fatalf("%s: %v", text, err)
			}
		}
		for name, want := range before {
			if _, changed := changes[name]; !changed && !reflect.DeepEqual(result[name], want) {
				t.Errorf("%q was changed without a word", name)
			}
		}
		for name, want := range changes {
			if now, there := result[name]; want == nil && there || want != nil && !there || want != nil && now == nil {
				t.Errorf("%q is %v, the patch says %v", name, now, want)
			}
		}
	})
}
