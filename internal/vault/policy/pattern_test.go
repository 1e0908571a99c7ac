package policy_test

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func TestPatternMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern string
		matches []string
		not     []string
	}{
		{"a", []string{"a"}, []string{"b", "a/a", "aa"}},
		{"a/b", []string{"a/b"}, []string{"a", "b", "a/b/c", "a/bc", "xa/b"}},
		{"*", []string{"a", "a.b-c_d"}, []string{"a/b"}},
		{"a/*", []string{"a/b"}, []string{"a", "a/b/c", "b/b"}},
		{"*/b", []string{"a/b"}, []string{"b", "a/a/b"}},
		{"a/*/c", []string{"a/b/c"}, []string{"a/c", "a/b/b/c"}},
		{"**", []string{"a", "a/b", "a/b/c"}, nil},
		{"a/**", []string{"a", "a/b", "a/b/c"}, []string{"ab", "ab/c", "b/a"}},
		{"**/c", []string{"c", "b/c", "a/b/c", "c/c"}, []string{"c/d", "ac"}},
		{"a/**/c", []string{"a/c", "a/b/c", "a/b/b/c", "a/c/c"}, []string{"a", "c", "a/c/d"}},
		{"**/b/**", []string{"b", "a/b", "b/c", "a/b/c"}, []string{"a", "a/c", "ab"}},
		{"a/**/b/**/c", []string{"a/b/c", "a/b/b/c/c", "a/x/b/y/z/c"}, []string{"a/c", "a/b", "a/c/b"}},
		{"**/**", []string{"a", "a/b"}, nil},
		{"*/**", []string{"a", "a/b"}, nil},
		{"**/*/a/*/**", []string{"x/a/y", "x/a/a/y", "a/a/a"}, []string{"a", "a/a", "x/y/z"}},
	} {
		p := parsePattern(t, tc.pattern)
		for _, path := range tc.matches {
			if !p.Match(parsePath(t, path)) {
				t.Errorf("%s does not select %s", tc.pattern, path)
			}
		}
		for _, path := range tc.not {
			if p.Match(parsePath(t, path)) {
				t.Errorf("%s selects %s", tc.pattern, path)
			}
		}
	}
}

func TestZeroPatternAndZeroPath(t *testing.T) {
	if (policy.Pattern{}).Match(parsePath(t, "a")) {
		t.Error("the zero pattern selects a path")
	}
	if parsePattern(t, "**").Match(secret.Path{}) {
		t.Error("** selects the path that names nothing")
	}
}

func TestParsePatternRefusals(t *testing.T) {
	for _, s := range []string{
		"", "/", "a/", "/a", "a//b", "pay*", "*pay", "a/***", "a/*b", "a/**b", "A", "a b", "a/../b", "./a", "a/.",
		"a%2fb", "a\x00", "ä", "a?", "[a]", "{a,b}", "*/", "**/", strings.Repeat("a", 513),
		strings.Repeat("*/", 16) + "a",
	} {
		if p, err := policy.ParsePattern(s); !errors.Is(err, policy.ErrInvalidPattern) {
			t.Errorf("ParsePattern(%q) = %v, error %v, want ErrInvalidPattern", s, p, err)
		}
	}
}

// TestPatternAgainstRegexp has the same pattern as a regular expression.
func TestPatternAgainstRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "**"}), 1, 6).Draw(t, "pattern"), "/")
		path := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 7).Draw(t, "path"), "/")
		got := parsePattern(t, s).Match(parsePath(t, path))
		if want := regexpOf(s).MatchString(path + "/"); got != want {
			t.Fatalf("%s selects %s: %v, want %v", s, path, got, want)
		}
	})
}

// regexpOf matches paths with a "/" after them.
func regexpOf(pattern string) *regexp.Regexp {
	var re strings.Builder
	re.WriteString("^")
	for segment := range strings.SplitSeq(pattern, "/") {
		switch segment {
		case "*":
			re.WriteString(`[^/]+/`)
		case "**":
			re.WriteString(`([^/]+/)*`)
		default:
			re.WriteString(regexp.QuoteMeta(segment) + "/")
		}
	}
	return regexp.MustCompile(re.String() + "$")
}

// crdPattern is the validation of PathPattern in the VaultPolicy CRD
// (api/v1alpha1/vaultpolicy_types.go), which refuses most of what the parser does.
var crdPattern = regexp.MustCompile(`^([a-z0-9._-]+|\*{1,2})(/([a-z0-9._-]+|\*{1,2})){0,15}$`)

func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"a", "*", "**", "a/**/b", "production/payments/*", "a/*b", "/a", "a/../b", "***", "a\x00", "A"} {
		f.Add(s, "a/b")
	}
	f.Add("production/*/database", "production/payments/database")
	f.Fuzz(func(t *testing.T, s, path string) {
		p, err := policy.ParsePattern(s)
		if err != nil {
			if !errors.Is(err, policy.ErrInvalidPattern) {
				t.Fatalf("error %v, want ErrInvalidPattern", err)
			}
			return
		}
		if p.String() != s {
			t.Fatalf("%q was cleaned to %q", s, p)
		}
		if len(s) > secret.MaxPathBytes || !crdPattern.MatchString(s) {
			t.Fatalf("%q is a pattern, and the CRD refuses it", s)
		}
		checkJSON(t, p)
		parsed, err := secret.ParsePath(path)
		if err != nil {
			return
		}
		if got, want := p.Match(parsed), regexpOf(s).MatchString(path+"/"); got != want {
			t.Fatalf("%q selects %q: %v, want %v", s, path, got, want)
		}
	})
}

func checkJSON(t *testing.T, p policy.Pattern) {
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back policy.Pattern
	if err := json.Unmarshal(text, &back); err != nil || back != p {
		t.Fatalf("%v came back from JSON as %v, error %v", p, back, err)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	p, path := parsePattern(t, "a/**/b/*/c"), parsePath(t, "a/b/b/b/x/b/y/c")
	if !p.Match(path) {
		t.Fatal("does not match")
	}
	if n := testing.AllocsPerRun(100, func() { p.Match(path) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// tester is what *testing.T, *testing.B and *rapid.T share.
type tester interface {
	Helper()
	Fatal(args ...any)
}

func parsePattern(t tester, s string) policy.Pattern {
	t.Helper()
	p, err := policy.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parsePath(t tester, s string) secret.Path {
	t.Helper()
	p, err := secret.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
