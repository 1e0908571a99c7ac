package secret_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func TestParsePath(t *testing.T) {
	for _, s := range []string{
		"a", "production/payments/database", "0", "-", "_", "a.b", "...", "a/..b", "a/b..",
		strings.Repeat("a", 512), strings.Repeat("a/", 15) + "a",
	} {
		p, err := secret.ParsePath(s)
		if err != nil || p.String() != s || p.IsZero() {
			t.Errorf("ParsePath(%q) = %q, error %v", s, p, err)
		}
	}
}

func TestParsePathRefusals(t *testing.T) {
	for s, want := range map[string]string{
		"":                             "it is empty",
		"/":                            "segment 1",
		"/a":                           "segment 1",
		"a/":                           "segment 2",
		"a//b":                         "segment 2",
		".":                            "relative step",
		"a/./b":                        "relative step",
		"a/../b":                       "relative step",
		"A":                            "character other than",
		"a b":                          "character other than",
		"a%2fb":                        "character other than",
		"a*":                           "character other than",
		"**":                           "character other than",
		"a\\b":                         "character other than",
		"a\x00b":                       "character other than",
		"a\n":                          "character other than",
		"ä":                            "character other than",
		"\u0430":                       "character other than", // a Cyrillic letter that looks like a
		"\xff":                         "character other than",
		strings.Repeat("a", 513):       "513 bytes",
		strings.Repeat("a/", 16) + "a": "17 segments",
	} {
		p, err := secret.ParsePath(s)
		if !errors.Is(err, secret.ErrInvalidPath) || !p.IsZero() {
			t.Errorf("ParsePath(%q) = %q, error %v, want ErrInvalidPath", s, p, err)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("ParsePath(%q): error %q does not say %q", s, err, want)
		}
	}
}

var pathSyntax = regexp.MustCompile(`^[a-z0-9._-]+(/[a-z0-9._-]+){0,15}$`)

// isPath says the same as ParsePath in other words.
func isPath(s string) bool {
	if len(s) > 512 || !pathSyntax.MatchString(s) {
		return false
	}
	steps := "/" + s + "/"
	return !strings.Contains(steps, "/./") && !strings.Contains(steps, "/../")
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"", "a", "/", "a/", "/a", "a//b", "production/payments/database", ".", "..", "a/../b", "...", "A", "a%2fb", "a%2e%2e/b",
		"a\x00", "a\\b", "ä", "a/*", "**", "a b", "a\n", "-", "_._", strings.Repeat("a/", 17),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := secret.ParsePath(s)
		if isPath(s) != (err == nil) {
			t.Fatalf("ParsePath(%q): error %v, want a path: %v", s, err, isPath(s))
		}
		if err != nil {
			if !errors.Is(err, secret.ErrInvalidPath) || !p.IsZero() {
				t.Fatalf("ParsePath(%q) = %q, error %v, want nothing and ErrInvalidPath", s, p, err)
			}
			return
		}
		if p.String() != s {
			t.Fatalf("ParsePath(%q) cleaned it to %q", s, p)
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back secret.Path
		if err := json.Unmarshal(text, &back); err != nil || back != p {
			t.Fatalf("%q came back from JSON as %q, error %v", p, back, err)
		}
	})
}

func TestPathsFromJSONAreParsed(t *testing.T) {
	for _, text := range []string{`""`, `"/a"`, `"a/../b"`, `"A"`, `1`} {
		var p secret.Path
		if err := json.Unmarshal([]byte(text), &p); err == nil || !p.IsZero() {
			t.Errorf("%s gave the path %q, error %v", text, p, err)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a": "a/", "a/": "a/", "production/payments": "production/payments/",
	} {
		p, err := secret.ParsePrefix(s)
		if err != nil || p.String() != want {
			t.Errorf("ParsePrefix(%q) = %q, error %v, want %q", s, p, err, want)
		}
	}
	for _, s := range []string{"/", "//", "a//", "/a", "..", "a/..", "A", "a*", "a%"} {
		if p, err := secret.ParsePrefix(s); !errors.Is(err, secret.ErrInvalidPath) {
			t.Errorf("ParsePrefix(%q) = %q, error %v, want ErrInvalidPath", s, p, err)
		}
	}
}

// TestPrefixContains compares segment by segment.
func TestPrefixContains(t *testing.T) {
	segments := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "aa", "b"}), 1, 4)
	rapid.Check(t, func(t *rapid.T) {
		below, above := segments.Draw(t, "path"), segments.Draw(t, "prefix")
		path, err := secret.ParsePath(strings.Join(below, "/"))
		if err != nil {
			t.Fatal(err)
		}
		prefix, err := secret.ParsePrefix(strings.Join(above, "/"))
		if err != nil {
			t.Fatal(err)
		}
		want := len(below) > len(above)
		for i := range above {
			want = want && below[i] == above[i]
		}
		if got := prefix.Contains(path); got != want {
			t.Fatalf("%s contains %s: %v, want %v", prefix, path, got, want)
		}
		if !(secret.Prefix{}).Contains(path) {
			t.Fatalf("the empty prefix does not contain %s", path)
		}
	})
}
