package audit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/vault/audit"
)

// TestRowsThatAnAnchorKnew are missing when later rows of their writer are there, and truncated when none is, each once
// however many know them.
func TestRowsThatAnAnchorKnew(t *testing.T) {
	writer, other := uuid.UUID{1}, uuid.UUID{2}
	log := newBook()
	log.write(writer)
	log.write(writer)
	log.write(other, log.heads[writer])
	log.write(writer)
	log.write(writer)
	for name, c := range map[string]struct {
		gone func(*audit.Row) bool
		want []string
	}{
		"nothing":                  {func(*audit.Row) bool { return false }, nil},
		"first":                    {func(r *audit.Row) bool { return r.Seq == 1 }, []string{"missing 1-1"}},
		"all that an anchor has":   {func(r *audit.Row) bool { return r.Seq <= 2 }, []string{"missing 1-2"}},
		"the last that it has":     {func(r *audit.Row) bool { return r.Seq == 2 }, []string{"missing 2-2"}},
		"also one that it has not": {func(r *audit.Row) bool { return r.Seq <= 3 }, []string{"missing 1-2", "missing 3-3"}},
		"two parts":                {func(r *audit.Row) bool { return r.Seq != 3 }, []string{"missing 1-2", "truncated 4-4"}},
		"the end":                  {func(r *audit.Row) bool { return r.Seq > 1 }, []string{"truncated 2-4"}},
		"all":                      {func(*audit.Row) bool { return true }, []string{"truncated 1-4"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := audit.NewVerifier(chain)
			for i := range log.rows {
				if r := &log.rows[i]; r.Writer == other || !c.gone(r) {
					v.Row(r)
				}
			}
			v.Stored([]audit.StoredHead{
				{Head: log.heads[writer], Seal: chain.Seal(log.heads[writer]), Anchored: 2}, {Head: log.heads[other], Seal: chain.Seal(log.heads[other])},
			})
			var got []string
			for _, f := range v.Report().Findings {
				if f.After != nil && f.After.Year() < 1970 || f.Kind == audit.Missing && f.Before == nil {
					t.Errorf("after a row of %v, before one of %v", f.After, f.Before)
				}
				got = append(got, string(f.Kind)+" "+string(rune('0'+f.First))+"-"+string(rune('0'+f.Last)))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAReportThatIsFullIsTheSameEachTime: of more findings than there is room for, the same are left out.
func TestAReportThatIsFullIsTheSameEachTime(t *testing.T) {
	const writers = audit.MaxFindings + 100
	for name, stored := range map[string]bool{"all rows are gone": true, "all stored heads are gone": false} {
		t.Run(name, func(t *testing.T) {
			v := audit.NewVerifier(chain)
			var want []string
			var heads []audit.StoredHead
			for i := range writers {
				head := audit.Head{Writer: uuid.UUID{0: byte(i >> 8), 1: byte(i), 15: 1}}
				row := audit.Row{Entry: audit.Entry{ID: int64(i + 1)}}
				chain.Link(head, &row)
				if stored {
					heads = append(heads, audit.StoredHead{Head: row.Head(), Seal: chain.Seal(row.Head())})
				} else {
					v.Row(&row)
				}
				if i < audit.MaxFindings {
					want = append(want, head.Writer.String())
				}
			}
			v.Stored(heads)
			report := v.Report()
			var got []string
			for _, f := range report.Findings {
				got = append(got, f.Writer)
			}
			if diff := cmp.Diff(want, got); diff != "" || report.More != writers-audit.MaxFindings {
				t.Errorf("%d more; the writers (-want +got):\n%s", report.More, diff)
			}
		})
	}
}
