package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
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

// FuzzParseDropped: what a checkpoint is read as is written so that it is read as the same, and its numbers can be those of rows.
func FuzzParseDropped(f *testing.F) {
	mac := exportedHead(1, 5).MAC
	said := Dropped{
		Spans: []Span{
			{Writer: exportedHead(1, 5).Writer, First: 1, Last: 5, MAC: mac}, {Writer: exportedHead(1, 5).Writer, First: 7, Last: 1 << 40, MAC: mac},
			{Writer: exportedHead(2, 3).Writer, First: 3, Last: 3, MAC: mac},
		},
		Anchored: []Head{exportedHead(1, 6).Head, exportedHead(2, 9).Head}, Chained: 12,
	}
	good := said.Format()
	if got, err := ParseDropped(good); err != nil || !cmp.Equal(said, got) {
		f.Fatalf("%v, (-want +got)\n%s", err, cmp.Diff(said, got))
	}
	for _, s := range []string{
		"", "\n", "x", "chained", "chained 12", "chained -12\n", "chained 0\n", "chained 1\nchained 2\n", good, strings.ToUpper(good), good + good, good[:len(good)-3],
		strings.ReplaceAll(good, " 1 5 ", " 5 1 "), strings.ReplaceAll(good, " 1 5 ", " 0 5 "), strings.ReplaceAll(good, " 1 5 ", " 1 9223372036854775807 "),
		strings.ReplaceAll(good, " 1 5 ", " 1 6 "), strings.ReplaceAll(good, "-", ""), strings.ReplaceAll(good, "\n", "\r\n"), strings.ReplaceAll(good, " ", "  "),
		strings.ReplaceAll(good, "anchored ", "dropped "), strings.ReplaceAll(good, "dropped ", "anchored "),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseDropped(s)
		if err != nil {
			if !cmp.Equal(Dropped{}, got) {
				t.Fatalf("%q: %+v and an error: %v", s, got, err)
			}
			return
		}
		if again, err := ParseDropped(got.Format()); err != nil || !cmp.Equal(got, again, cmpopts.EquateEmpty()) {
			t.Fatalf("%q is written as %q, which is read as another: %v\n%s", s, got.Format(), err, cmp.Diff(got, again))
		}
		if got.Chained < 0 {
			t.Fatalf("%q: the chain began with id %d", s, got.Chained)
		}
		for i, span := range got.Spans {
			if span.First < 1 || span.Last < span.First {
				t.Fatalf("%q: rows %d to %d", s, span.First, span.Last)
			}
			if i > 0 && got.Spans[i-1].Writer == span.Writer && got.Spans[i-1].Last >= span.First-1 {
				t.Fatalf("%q: rows to %d and rows from %d are one span", s, got.Spans[i-1].Last, span.First)
			}
		}
		for _, h := range got.Anchored {
			if h.Seq < 1 {
				t.Fatalf("%q: a head with the number %d", s, h.Seq)
			}
		}
	})
}
