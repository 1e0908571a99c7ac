package audit_test

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// close reads the rows of the ids given as a part that is to be dropped.
func (b *book) close(ids ...int) *audit.Closing {
	c := audit.NewClosing(chain)
	for _, id := range ids {
		c.Row(&b.rows[id-1])
	}
	return c
}

// TestClosingSaysWhichRowsGo, to the row, and which must be elsewhere.
func TestClosingSaysWhichRowsGo(t *testing.T) {
	one, two := uuid.UUID{1}, uuid.UUID{2}
	log := newBook()
	log.write(one)                 // 1: row 1
	log.write(one)                 // 2: row 2
	log.write(two)                 // 3: row 1
	log.write(one)                 // 4: row 3
	log.write(one)                 // 5: row 4
	log.write(two, log.heads[one]) // 6: row 2, knows row 4
	log.write(one)                 // 7: row 5
	log.write(one)                 // 8: row 6
	log.write(one)                 // 9: row 7
	log.write(two, log.heads[one]) // 10: row 3, knows row 7
	span := func(writer uuid.UUID, first, last int64, id int) audit.Span {
		return audit.Span{Writer: writer, First: first, Last: last, MAC: log.rows[id-1].Head().MAC}
	}
	c := log.close(1, 2, 6, 7, 8, 10)
	if c.Wrong() != "" || c.Rows() != 6 || c.Writers() != 2 {
		t.Errorf("%d rows of %d writers, wrong: %q", c.Rows(), c.Writers(), c.Wrong())
	}
	want := audit.Dropped{Spans: []audit.Span{span(one, 1, 2, 2), span(one, 5, 6, 8), span(two, 2, 3, 10)}, Anchored: []audit.Head{log.rows[8].Head()}, Chained: 1}
	if diff := gocmp.Diff(want, c.Dropped()); diff != "" {
		t.Errorf("dropped (-want +got)\n%s", diff)
	}
	for name, test := range map[string]struct {
		before audit.Dropped
		want   []audit.Gap
	}{
		"nothing dropped before": {audit.Dropped{}, []audit.Gap{{Writer: one, First: 3, Last: 4, After: 2, Before: 7}}},
		"the first of them":      {audit.Dropped{Spans: []audit.Span{span(one, 1, 3, 4)}}, []audit.Gap{{Writer: one, First: 4, Last: 4, After: 2, Before: 7}}},
		"the last of them":       {audit.Dropped{Spans: []audit.Span{span(one, 4, 4, 5)}}, []audit.Gap{{Writer: one, First: 3, Last: 3, After: 2, Before: 7}}},
		"all of them":            {audit.Dropped{Spans: []audit.Span{span(one, 3, 4, 5)}}, nil},
		"another writer's":       {audit.Dropped{Spans: []audit.Span{span(two, 3, 4, 10)}}, []audit.Gap{{Writer: one, First: 3, Last: 4, After: 2, Before: 7}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := c.Gaps(test.before)
			slices.SortFunc(got, func(a, b audit.Gap) int { return cmp.Compare(a.First, b.First) })
			if diff := gocmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestClosingCarriesWhatItDrops: what a checkpoint that goes says is said by the one that comes.
func TestClosingCarriesWhatItDrops(t *testing.T) {
	one, two, three := uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3}
	log := newBook()
	for range 5 {
		log.write(one) // 1 to 5
	}
	log.write(two) // 6
	log.write(two) // 7
	first := log.close(1, 2)
	carried := first.Dropped()
	carried.Anchored = append(carried.Anchored, log.rows[4].Head(), log.rows[6].Head())
	log.add(three, audit.Checkpoint, carried.Format()) // 8
	want := audit.Dropped{
		Spans: []audit.Span{
			{Writer: one, First: 1, Last: 3, MAC: log.rows[2].Head().MAC},
			{Writer: two, First: 1, Last: 2, MAC: log.rows[6].Head().MAC},
			{Writer: three, First: 1, Last: 1, MAC: log.rows[7].Head().MAC},
		},
		Anchored: []audit.Head{log.rows[4].Head()}, // that of two is of a row that goes
		Chained:  1,
	}
	c := log.close(3, 6, 7, 8)
	if diff := gocmp.Diff(want, c.Dropped()); diff != "" || c.Wrong() != "" {
		t.Errorf("wrong: %q, dropped (-want +got)\n%s", c.Wrong(), diff)
	}
}

// TestClosingRefusesRows that are not as they were written, and names the first.
func TestClosingRefusesRows(t *testing.T) {
	one := uuid.UUID{1}
	for name, test := range map[string]struct {
		spoil func(*book) []int // the ids of the part
		want  string
	}{
		"as written":         {func(*book) []int { return []int{1, 2, 3} }, ""},
		"with one elsewhere": {func(*book) []int { return []int{1, 3} }, ""},
		"edited":             {func(b *book) []int { b.rows[1].Caller = "user:nobody"; return []int{1, 2, 3} }, "row 2 of writer " + one.String() + ", id 2, fails its integrity check"},
		"twice":              {func(*book) []int { return []int{1, 2, 2} }, "stands behind row 2"},
		"in another order":   {func(*book) []int { return []int{2, 1} }, "stands behind row 2"},
		"another row in its place": {func(b *book) []int {
			other := newBook()
			other.add(one, audit.List, "")
			b.rows[0] = other.rows[0]
			return []int{1, 2}
		}, "row 2 of writer " + one.String() + ", id 2, does not follow"},
		"without a writer, first": {func(b *book) []int { b.rows[0] = audit.Row{}; return []int{1, 2} }, ""},
		"without a writer, later": {func(b *book) []int { b.rows[1] = audit.Row{}; return []int{1, 2, 3} }, "has no writer"},
		"anchor":                  {func(b *book) []int { b.add(one, audit.Anchor, "x\n"); return []int{4} }, "is an anchor that cannot be read"},
		"checkpoint":              {func(b *book) []int { b.add(one, audit.Checkpoint, "x\n"); return []int{4} }, "is a checkpoint that cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			log := newBook()
			for range 3 {
				log.write(one)
			}
			ids := test.spoil(log)
			if got := log.close(ids...).Wrong(); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("wrong: %q, want %q", got, test.want)
			}
		})
	}
}
