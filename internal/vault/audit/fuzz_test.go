package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParseHeads: what is read is written the same way again.
func FuzzParseHeads(f *testing.F) {
	good := FormatHeads([]Head{exportedHead(1, 5).Head, exportedHead(2, 1<<40).Head})
	for _, s := range []string{"", good, strings.ToUpper(good), strings.ReplaceAll(good, "-", ""), strings.TrimSuffix(good, "\n"), "x 1 00\n", strings.ReplaceAll(good, " 5 ", " -5 "), strings.ReplaceAll(good, " 5 ", " 0 "), strings.ReplaceAll(good, " ", "  ")} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		heads, err := ParseHeads(s)
		if err == nil && FormatHeads(heads) != s {
			t.Fatalf("%q was read as %q", s, FormatHeads(heads))
		}
		if err != nil && heads != nil {
			t.Fatalf("%q: heads and an error: %v", s, err)
		}
		for _, h := range heads {
			if h.Seq < 1 {
				t.Fatalf("%q: a head with the number %d", s, h.Seq)
			}
		}
	})
}

// FuzzParseExported: a line that is not like a head is said and passed over, and the others count.
func FuzzParseExported(f *testing.F) {
	kept := []StoredHead{exportedHead(1, 5), exportedHead(2, 1<<40)}
	good := FormatExported(kept)
	for _, s := range []string{"", "\n", "x", "x y z", good, good[:len(good)-3], strings.ToUpper(good), "  " + good, strings.ReplaceAll(good, "\n", "\r\n"), strings.ReplaceAll(good, "\n", " ")} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s, _, _ = strings.Cut(s, "\n") // one line at a time: what it does to others is looked at below
		got, err := ParseExported(s)
		if strings.TrimSpace(s) != "" && (len(got) == 1) == (err != nil) || len(got) > 1 {
			t.Fatalf("%q: %d heads, error %v", s, len(got), err)
		}
		for _, h := range got {
			if written := FormatExported([]StoredHead{h}); written != strings.TrimSpace(s)+"\n" {
				t.Fatalf("%q was read as %q", s, written)
			}
		}
		all, _ := ParseExported(good + s + "\n" + good)
		want := slices.Concat(kept, got, kept)
		if diff := cmp.Diff(want, all); diff != "" {
			t.Fatalf("%q among others (-want +got)\n%s", s, diff)
		}
	})
}
