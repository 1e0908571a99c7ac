package generate_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/coffer-vault/coffer/internal/vault/rotation/generate"
)

func password(t interface {
	Helper()
	Fatal(...any)
}, p generate.Password) string {
	t.Helper()
	parts, err := generate.Spec{Password: &p}.Generate(generate.Input{})
	if err != nil {
		t.Fatal(err)
	}
	return parts[generate.PasswordProperty]
}

// TestPasswordIsAsItsSpecSays makes passwords of random specs: each is refused for a reason, or has the length, the
// minimum of each class, and no other character.
func TestPasswordIsAsItsSpecSays(t *testing.T) {
	all := []generate.Class{
		{Name: generate.Lower}, {Name: generate.Upper}, {Name: generate.Digits}, {Characters: "-._~"}, {Characters: "@"},
	}
	text := []string{"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "-._~", "@"}
	rapid.Check(t, func(t *rapid.T) {
		p := generate.Password{
			Length:  rapid.IntRange(generate.MinPasswordLength, 40).Draw(t, "length"),
			Exclude: rapid.StringMatching(`[a-z0-9@.]{0,8}`).Draw(t, "exclude"),
		}
		var wanted []string
		needed, empty := 0, false
		for i, c := range all {
			if !rapid.Bool().Draw(t, "with class") {
				continue
			}
			c.Minimum = rapid.IntRange(0, 9).Draw(t, "minimum")
			p.Classes = append(p.Classes, c)
			left := strings.Map(func(r rune) rune {
				if strings.ContainsRune(p.Exclude, r) {
					return -1
				}
				return r
			}, text[i])
			wanted = append(wanted, left)
			needed += c.Minimum
			empty = empty || left == "" && c.Minimum > 0
		}
		if len(p.Classes) == 0 {
			return // the default, which has a test of its own
		}
		impossible := needed > p.Length || empty || len(strings.Join(wanted, "")) < 2
		err := p.Check()
		if impossible != (err != nil) || err != nil && !errors.Is(err, generate.ErrSpec) {
			t.Fatalf("Check says %v; impossible: %v", err, impossible)
		}
		if impossible {
			return
		}
		got := password(t, p)
		if len(got) != p.Length {
			t.Fatalf("%d characters, want %d", len(got), p.Length)
		}
		found := 0
		for i, characters := range wanted {
			n := 0
			for _, r := range got {
				if strings.ContainsRune(characters, r) {
					n++
				}
			}
			if n < p.Classes[i].Minimum {
				t.Fatalf("%d of class %d, want %d at least", n, i, p.Classes[i].Minimum)
			}
			found += n
		}
		if found != len(got) {
			t.Fatalf("%d characters are of no class", len(got)-found)
		}
	})
}

// TestEachPasswordIsAsLikely counts where the characters of a class with a minimum stand, and how many there are. Of
// 8 characters from {a, b} with at least one b, each position is b with probability 2^7/(2^8-1).
func TestEachPasswordIsAsLikely(t *testing.T) {
	const draws = 10_000
	p := generate.Password{Length: 8, Classes: []generate.Class{{Characters: "a"}, {Characters: "b", Minimum: 1}}}
	at := make([]int, 8)
	single := 0
	for range draws {
		got := password(t, p)
		if strings.Count(got, "b") == 1 {
			single++
		}
		for i, r := range got {
			if r == 'b' {
				at[i]++
			}
		}
	}
	for i, n := range at {
		expect(t, "b at a position", i, n, draws, 128.0/255)
	}
	expect(t, "a single b", 0, single, draws, 8.0/255)
}

// expect fails when n of draws is six standard deviations from what p gives: once in 500 million runs of a fair one.
func expect(t *testing.T, what string, which, n, draws int, p float64) {
	t.Helper()
	mean, deviation := float64(draws)*p, math.Sqrt(float64(draws)*p*(1-p))
	if math.Abs(float64(n)-mean) > 6*deviation {
		t.Errorf("%s (%d): %d of %d, want %.0f, give or take %.0f", what, which, n, draws, mean, 6*deviation)
	}
}

func TestPasswordWithoutASpec(t *testing.T) {
	got := password(t, generate.Password{})
	if len(got) != generate.DefaultPasswordLength || !strings.ContainsAny(got, "0123456789") ||
		strings.ToLower(got) == got || strings.ToUpper(got) == got {
		t.Errorf("the default password has %d characters, or lacks a class", len(got))
	}
	if got == password(t, generate.Password{}) {
		t.Error("two passwords are the same")
	}
}

func TestLongestPassword(t *testing.T) {
	p := generate.Password{Length: generate.MaxPasswordLength, Classes: []generate.Class{
		{Name: generate.Lower, Minimum: 60}, {Name: generate.Upper, Minimum: 60}, {Name: generate.Digits, Minimum: 60}, {Name: generate.Symbols, Minimum: 76},
	}}
	if got := password(t, p); len(got) != generate.MaxPasswordLength {
		t.Errorf("%d characters", len(got))
	}
}

func TestImpossiblePasswordsSayWhy(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    generate.Password
		want string
	}{
		{"short", generate.Password{Length: 7}, "give a length of 8 to 256"},
		{"long", generate.Password{Length: 257}, "give a length of 8 to 256"},
		{"minimums", generate.Password{Length: 8, Classes: []generate.Class{{Name: generate.Lower, Minimum: 5}, {Name: generate.Upper, Minimum: 4}}}, "ask for 9 characters at least, and the length is 8"},
		{"excluded class", generate.Password{Exclude: "0123456789"}, "everything in class 2"},
		{"unknown class", generate.Password{Classes: []generate.Class{{Name: "vowels"}}}, `no class is named "vowels"`},
		{"no class", generate.Password{Classes: []generate.Class{{}}}, "needs either a name or characters"},
		{"both", generate.Password{Classes: []generate.Class{{Name: generate.Lower, Characters: "x"}}}, "needs either a name or characters"},
		{"twice", generate.Password{Classes: []generate.Class{{Name: generate.Lower}, {Characters: "-z"}}}, `'z' is in two classes`},
		{"not ASCII", generate.Password{Classes: []generate.Class{{Characters: "ab\u00e4"}}}, "no visible ASCII character"},
		{"space", generate.Password{Classes: []generate.Class{{Characters: "a b"}}}, "no visible ASCII character"},
		{"one left", generate.Password{Classes: []generate.Class{{Characters: "ab"}}, Exclude: "a"}, "one password at most"},
		{"negative", generate.Password{Classes: []generate.Class{{Name: generate.Lower, Minimum: -1}}}, "minimum -1"},
	} {
		err := generate.Spec{Password: &tc.p}.Check()
		if !errors.Is(err, generate.ErrSpec) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
		if _, again := (generate.Spec{Password: &tc.p}).Generate(generate.Input{}); again == nil {
			t.Errorf("%s: Generate makes it all the same", tc.name)
		}
	}
}
