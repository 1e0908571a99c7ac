package audit

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func TestDroppedFormat(t *testing.T) {
	one, two := uuid.UUID{1}, uuid.UUID{2}
	d := Dropped{
		Spans:    []Span{{one, 1, 4, [MACSize]byte{4}}, {one, 6, 9, [MACSize]byte{9}}, {two, 3, 3, [MACSize]byte{3}}},
		Anchored: []Head{{Writer: two, Seq: 5, MAC: [MACSize]byte{5}}},
		Chained:  17,
	}
	read, err := ParseDropped(d.Format())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(d, read); diff != "" {
		t.Errorf("(-written +read)\n%s", diff)
	}
	if d.Rows() != 9 {
		t.Errorf("%d rows, want 9", d.Rows())
	}
	line := "dropped " + one.String() + " 1 4 " + strings.Repeat("0a", MACSize) + "\n"
	if _, err := ParseDropped(line); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"moved 1\n", "dropped\n", "chained x\n", "anchored x\n", "\n", strings.Replace(line, " 1 4 ", " 4 1 ", 1), strings.Replace(line, " 1 4 ", " 0 4 ", 1),
		strings.Replace(line, "0a", "", 1), strings.Replace(line, "0a", "zz", 1), strings.Replace(line, one.String(), "x", 1),
	} {
		if read, err := ParseDropped(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, read)
		}
	}
}

func TestDroppedMerge(t *testing.T) {
	one, two := uuid.UUID{1}, uuid.UUID{2}
	span := func(w uuid.UUID, first, last int64) Span { return Span{w, first, last, [MACSize]byte{byte(last)}} }
	a := Dropped{Spans: []Span{span(two, 1, 2), span(one, 1, 3), span(one, 7, 9)}, Chained: 20}
	b := Dropped{Spans: []Span{span(one, 4, 4), span(one, 6, 6), span(two, 2, 2), span(two, 4, 4)}, Chained: 10}
	got := a.Merge(b)
	want := []Span{span(one, 1, 4), span(one, 6, 9), span(two, 1, 2), span(two, 4, 4)}
	if diff := cmp.Diff(want, got.Spans); diff != "" || got.Chained != 10 {
		t.Errorf("chained %d (-want +got)\n%s", got.Chained, diff)
	}
	index := indexOf(got)
	for _, c := range []struct {
		first, last int64
		left        [][2]int64
	}{{1, 9, [][2]int64{{5, 5}}}, {1, 4, nil}, {2, 3, nil}, {5, 5, [][2]int64{{5, 5}}}, {8, 12, [][2]int64{{10, 12}}}, {10, 10, [][2]int64{{10, 10}}}} {
		if diff := cmp.Diff(c.left, index.except(one, c.first, c.last)); diff != "" {
			t.Errorf("%d to %d (-want +got)\n%s", c.first, c.last, diff)
		}
	}
	if mac, known := index.end(one, 9); !known || mac[0] != 9 || index.last(one) != 9 {
		t.Errorf("the end of the second span: %v, %v", mac, known)
	}
	if _, known := index.end(one, 3); known {
		t.Error("the MAC in the middle of a span is known")
	}
}
