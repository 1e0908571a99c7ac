package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func FuzzParsePosition(f *testing.F) {
	for _, p := range []*Position{
		{},
		{Had: Moment{}, HadID: 7},
		{Had: Moment{{1}: 3, {2}: 1 << 40}, HadID: 9, Of: Moment{{1}: 4}, End: 12, At: 10, Found: 1, Back: 2},
	} {
		s, err := FormatPosition(p, []byte("seal"))
		if err != nil {
			f.Fatal(err)
		}
		got, seal, err := ParsePosition(s)
		if err != nil || string(seal) != "seal" {
			f.Fatalf("seal %q, %v", seal, err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			f.Fatalf("(-want +got)\n%s", diff)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, seal, err := ParsePosition(s)
		if err != nil {
			return
		}
		again, err := FormatPosition(p, seal)
		if err != nil {
			t.Fatal(err)
		}
		same, _, err := ParsePosition(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, same); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

func TestPositionTakesRowsOfItsMomentOnce(t *testing.T) {
	one, two := uuid.UUID{1}, uuid.UUID{2}
	p := &Position{Had: Moment{one: 2}, HadID: 10}
	p.Begin(Moment{one: 4, two: 2}, 20, 0)
	row := func(id int64, writer uuid.UUID, seq int64) *Row {
		return &Row{Entry: Entry{ID: id}, Writer: writer, Seq: seq}
	}
	for _, c := range []struct {
		name string
		row  *Row
		want bool
		late int64
	}{
		{"exported before", row(11, one, 2), false, 4},
		{"next", row(12, one, 3), true, 3},
		{"of a later moment", row(13, one, 5), false, 3},
		{"of a writer of a later moment", row(14, uuid.UUID{3}, 1), false, 3},
		{"without a writer", row(15, uuid.Nil, 0), true, 3},
		{"without a writer, before", row(9, uuid.Nil, 0), false, 3},
		{"late", row(9, two, 1), true, 2},
	} {
		if got, late := p.Take(c.row), p.Late(); got != c.want || late != c.late {
			t.Errorf("%s: %t, and %d are late; want %t and %d", c.name, got, late, c.want, c.late)
		}
	}
	p.Finish()
	if diff := cmp.Diff(&Position{Had: Moment{one: 4, two: 2}, HadID: 20}, p); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
