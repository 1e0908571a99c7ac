package secret_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// FuzzProperties: a value has properties when it is one JSON object of strings, and
// then just those that stand there. What cannot be read as it stands is raw.
func FuzzProperties(f *testing.F) {
	for _, s := range []string{
		`{"user":"app","password":"p"}`, `{}`, ` {"a":""} `, `{"a":1}`, `{"a":null}`, `{"a":"b"}x`, `{"a":"\ud83d\udd11"}`, `{"a":"\ud83d"}`,
		"{\"a\":\"\xff\"}", "{\"\xff\":\"b\"}", "{\"a\":\"\uFFFD\"}", `{"a":"\uFFFD"}`, `{"a":"1","a":"2"}`, `["a"]`, "{", "\x00{",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > secret.MaxValueBytes {
			return
		}
		got, ok := secret.Properties(newValue(t, string(value)))
		var object map[string]any
		err := json.Unmarshal(value, &object)
		if !ok {
			if got != nil {
				t.Fatalf("%q has no properties, and these: %q", value, got)
			}
			return
		}
		if err != nil || object == nil || !utf8.Valid(value) {
			t.Fatalf("%q is no object in JSON (%v), and has properties", value, err)
		}
		replaced := strings.Contains(string(value), "\uFFFD") || strings.Contains(strings.ToLower(string(value)), `\ufffd`)
		for name, text := range got {
			if object[name] != text {
				t.Fatalf("%q: %q is %q, want %v", value, name, text, object[name])
			}
			if !replaced && strings.Contains(name+text, "\uFFFD") {
				t.Fatalf("%q was changed to %q: %q", value, name, text)
			}
		}
		if len(got) != len(object) {
			t.Fatalf("%q has %d properties, want %d", value, len(got), len(object))
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		back, ok := secret.Properties(newValue(t, string(again)))
		if diff := cmp.Diff(got, back); !ok || diff != "" {
			t.Fatalf("%q came back as %q: %s", again, back, diff)
		}
	})
}

var idempotencyKey = regexp.MustCompile(`^[ -~]{1,255}$`)

func FuzzIdempotencyKey(f *testing.F) {
	for _, s := range []string{"", "5f0c1f6e-8d0a-4a53-9b0e-3a3d1c7d2f10", " ", "~", "a\n", "ä", "\x00", strings.Repeat("k", 255), strings.Repeat("k", 256)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		err := secret.CheckIdempotencyKey(key)
		if want := idempotencyKey.MatchString(key) && !strings.HasSuffix(key, "\n"); want != (err == nil) {
			t.Fatalf("%q: error %v, want a key: %v", key, err, want)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, secret.ErrInvalid) || len(key) > 8 && strings.Contains(err.Error(), key) {
			t.Fatalf("%q: error %v", key, err)
		}
	})
}

func FuzzParsePrefix(f *testing.F) {
	for _, s := range []string{"", "a", "a/", "a//", "/", "a/b", "..", "A/", "a*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := secret.ParsePrefix(s)
		trimmed := strings.TrimSuffix(s, "/")
		if want := s == "" || isPath(trimmed); want != (err == nil) {
			t.Fatalf("ParsePrefix(%q): error %v, want a prefix: %v", s, err, want)
		}
		if err != nil {
			if !errors.Is(err, secret.ErrInvalidPath) || p.String() != "" {
				t.Fatalf("ParsePrefix(%q) = %q, error %v", s, p, err)
			}
			return
		}
		if s != "" && p.String() != trimmed+"/" {
			t.Fatalf("ParsePrefix(%q) = %q", s, p)
		}
		if again, err := secret.ParsePrefix(p.String()); err != nil || again != p {
			t.Fatalf("%q came back as %q, %v", p, again, err)
		}
	})
}
